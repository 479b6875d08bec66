// Prints drift events that are posted here, if their signature is right:
//
//     WEBHOOK_SECRET=whsec_... java Webhook.java 8080
//
// in the learner's settings
//
//     [drift.webhooks.java]
//     url = "http://127.0.0.1:8080/"
//     secret = "whsec_..."

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.Base64;
import java.util.HashSet;
import java.util.Set;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Webhook {
    static final int BODY_BYTES_MAX = 1 << 20;
    static final long AGE_MAX_S = 300;

    static final Set<String> seen = new HashSet<>();

    public static void main(String[] arguments) throws IOException {
        byte[] key = Base64.getDecoder().decode(System.getenv("WEBHOOK_SECRET").substring("whsec_".length()));
        int port = Integer.parseInt(arguments[0]);
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.createContext("/", exchange -> {
            try (exchange) {
                exchange.sendResponseHeaders(take(exchange, key), -1);
            }
        });
        server.start();
        System.out.println("listening on port " + server.getAddress().getPort());
    }

    /** The status of the answer: 204, or 401 where the signature is wrong, missing or old. */
    static int take(HttpExchange exchange, byte[] key) throws IOException {
        String id = header(exchange, "webhook-id");
        String time = header(exchange, "webhook-timestamp");
        String body = new String(exchange.getRequestBody().readNBytes(BODY_BYTES_MAX), StandardCharsets.UTF_8);
        String expected = "v1," + signature(key, id + "." + time + "." + body);
        boolean right = MessageDigest.isEqual(
                expected.getBytes(StandardCharsets.UTF_8),
                header(exchange, "webhook-signature").getBytes(StandardCharsets.UTF_8));
        if (!right || Math.abs(Instant.now().getEpochSecond() - Long.parseLong(time)) > AGE_MAX_S) {
            return 401;
        }
        // An event may come twice: after a crash, or when this answer was lost.
        if (seen.add(id)) {
            System.out.println(body);
        }
        return 204;
    }

    static String header(HttpExchange exchange, String name) {
        String value = exchange.getRequestHeaders().getFirst(name);
        return value == null ? "" : value;
    }

    static String signature(byte[] key, String content) {
        try {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(key, "HmacSHA256"));
            return Base64.getEncoder().encodeToString(mac.doFinal(content.getBytes(StandardCharsets.UTF_8)));
        } catch (java.security.GeneralSecurityException error) {
            throw new IllegalStateException(error);
        }
    }
}
