import com.google.protobuf.CodedInputStream;
import com.google.protobuf.WireFormat;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/**
 * Biased matrix factorisation by SGD in Kafka Streams: one thread, user and item rows in RocksDB stores
 * without cache and without changelog. Each partition's task has item rows of its own, which spares the
 * job the repartitioning that shared ones would take. Prints {"events": N, "seconds": S}, from the first
 * record's arrival to the end of the last one's step.
 *
 * <p>Arguments: bootstrap servers, topic, directory for state, number of events.
 */
public final class StreamsJob {
  private static final int RANK = 64;
  private static final float STEP = 0.05f;
  private static final float STEP_BIAS = 0.025f;

  private static long eventsMax;
  private static long events;
  private static long startNs;
  private static long endNs;
  private static final CountDownLatch finished = new CountDownLatch(1);

  /** Ids and rating of one Interaction. */
  private record Interaction(byte[] user, byte[] item, double value) {
    static Interaction parse(byte[] bytes) {
      byte[] user = null;
      byte[] item = null;
      double value = 0;
      CodedInputStream in = CodedInputStream.newInstance(bytes);
      try {
        for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
          switch (WireFormat.getTagFieldNumber(tag)) {
            case 1 -> user = in.readByteArray();
            case 2 -> item = in.readByteArray();
            case 4 -> value = in.readDouble();
            default -> in.skipField(tag);
          }
        }
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
      return new Interaction(user, item, value);
    }
  }

  private static final class Step implements Processor<byte[], byte[], Void, Void> {
    private KeyValueStore<byte[], byte[]> users;
    private KeyValueStore<byte[], byte[]> items;
    private double sum;
    private long count;

    @Override
    public void init(ProcessorContext<Void, Void> context) {
      users = context.getStateStore("users");
      items = context.getStateStore("items");
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
      if (events == 0) {
        startNs = System.nanoTime();
      }
      if (events == eventsMax) {
        return;
      }
      Interaction event = Interaction.parse(record.value());
      float[] user = row(users, event.user());
      float[] item = row(items, event.item());
      sum += event.value();
      count += 1;
      learn(user, item, (float) (event.value() - sum / count));
      users.put(event.user(), bytes(user));
      items.put(event.item(), bytes(item));
      events += 1;
      if (events == eventsMax) {
        endNs = System.nanoTime();
        finished.countDown();
      }
    }
  }

  /** One step; a row is its vector and then its bias. */
  private static void learn(float[] user, float[] item, float target) {
    float prediction = user[RANK] + item[RANK];
    for (int k = 0; k < RANK; k++) {
      prediction += user[k] * item[k];
    }
    float error = target - prediction;
    for (int k = 0; k < RANK; k++) {
      float before = user[k];
      user[k] += STEP * error * item[k];
      item[k] += STEP * error * before;
    }
    user[RANK] += STEP_BIAS * error;
    item[RANK] += STEP_BIAS * error;
  }

  private static float[] row(KeyValueStore<byte[], byte[]> store, byte[] id) {
    float[] row = new float[RANK + 1];
    byte[] stored = store.get(id);
    if (stored != null) {
      ByteBuffer.wrap(stored).asFloatBuffer().get(row);
      return row;
    }
    long state = Arrays.hashCode(id);
    for (int k = 0; k < RANK; k++) {
      state = state * 6364136223846793005L + 1442695040888963407L;
      row[k] = 0.1f * ((state >> 40) / (float) (1 << 23));
    }
    return row;
  }

  private static byte[] bytes(float[] row) {
    ByteBuffer buffer = ByteBuffer.allocate(4 * row.length);
    FloatBuffer floats = buffer.asFloatBuffer();
    floats.put(row);
    return buffer.array();
  }

  private static StoreBuilder<KeyValueStore<byte[], byte[]>> store(String name) {
    return Stores.keyValueStoreBuilder(
            Stores.persistentKeyValueStore(name), Serdes.ByteArray(), Serdes.ByteArray())
        .withCachingDisabled()
        .withLoggingDisabled();
  }

  public static void main(String[] arguments) throws InterruptedException {
    eventsMax = Long.parseLong(arguments[3]);
    Properties settings = new Properties();
    settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
    settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "streams-job");
    settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[2]);
    settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
    settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
    settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
    settings.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, 10_000);
    Topology topology = new Topology();
    topology.addSource(
        "interactions", new ByteArrayDeserializer(), new ByteArrayDeserializer(), arguments[1]);
    topology.addProcessor("learn", Step::new, "interactions");
    topology.addStateStore(store("users"), "learn");
    topology.addStateStore(store("items"), "learn");
    try (KafkaStreams streams = new KafkaStreams(topology, settings)) {
      streams.start();
      finished.await();
    }
    System.out.println("{\"events\": " + events + ", \"seconds\": " + (endNs - startNs) / 1e9 + "}");
  }
}
