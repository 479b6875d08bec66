const { fault, alarms } = series;
const ROLES = { live: "live", frozen: "third", baseline: "fourth", "live, undisturbed": "best" };
const { name: lossName, unit } = series.loss;
const MEASURES = { loss: lossName, ...(series.whole.reciprocal_rank && { reciprocal_rank: "reciprocal rank" }) };
const errors = alarms.filter((alarm) => alarm.severity === "error");
const found = figures.detected_event;

const marks = [
  ...(fault.none ? [] : [{ x: fault.begins, name: figures.fault }]),
  ...(fault.none || fault.ends === figures.events ? [] : [{ x: fault.ends, name: "it is over" }]),
  ...(found === null ? [] : [{ x: found, name: figures.reason }]),
];

function verdict() {
  if (fault.none) {
    const said = errors.length ? `${whole(errors.length)} alarms without any cause.` : "No alarm, and there was no cause for any.";
    return html("p", { class: "verdict" }, said);
  }
  if (found === null) return html("p", { class: "verdict" }, "It was not noticed.");
  const said = html("p", { class: "verdict" }, `Noticed ${whole(figures.delay_events)} events later: `);
  said.append(html("b", {}, figures.reason), `, to be answered by ${figures.action}.`);
  return said;
}

function head() {
  const until = fault.ends === figures.events ? "to the end" : `to event ${whole(fault.ends)}`;
  const where = fault.none ? "as it is" : `from event ${whole(fault.begins)} ${until}`;
  return html(
    "header",
    {},
    html("h1", {}, `Drill: ${figures.fault} in ${series.file}`),
    html("p", { class: "soft" }, `${whole(figures.events)} events · ${where}`),
    verdict(),
  );
}

function tiles() {
  const area = figures.loss_area_vs_twin;
  const delay = found === null ? "–" : whole(figures.delay_events);
  return html(
    "div",
    { class: "tiles" },
    tile("events until noticed", delay, found === null ? "no alarm of severity error since" : `at event ${whole(found)}`),
    tile("what it cost", `${whole(area)} ${unit}`, `${lossName} above that of the undisturbed twin, summed`),
    tile("false alarms", whole(figures.false_alarms), fault.none ? "of severity error" : "of severity error, before the fault"),
    tile("drift events", whole(alarms.length), `${whole(errors.length)} of severity error`),
  );
}

function course(title, says, means, height) {
  const draw = (measure) => {
    const lines = Object.entries(means[measure]).map(([name, y]) => ({ name, role: ROLES[name], x: means.events, y }));
    return lineChart(`${title}: ${MEASURES[measure]}`, lines, { format: "score", zero: measure !== "loss", height, marks });
  };
  const several = Object.keys(MEASURES).length > 1;
  return section(title, says, ...(several ? switched("Measure", MEASURES, draw) : [draw("loss")]));
}

function cost() {
  const { events, sums } = series.area;
  const above = `${lossName} above the twin's`;
  const lines = [{ name: above, role: "live", x: events, y: sums }];
  const says = `The ${lossName} of the live model above that of a twin who got the stream as it is, summed over the events that both have judged since the fault began${unit && `, in ${unit}`}. It rises while the model is worse off.`;
  return section("What it costs", says, lineChart(above, lines, { format: "rate", height: 240, marks }));
}

function told() {
  if (!alarms.length) return section("What was told", "", emptyBox("No drift event was raised."));
  const cell = (text) => html("td", { class: "words" }, text);
  const rows = alarms.map((alarm) => {
    const since = alarm.at - fault.begins;
    const place = fault.none || since < 0 ? "" : `${whole(since)} later`;
    return html(
      "tr",
      { class: alarm.severity === "error" ? "live" : "" },
      html("th", { scope: "row" }, whole(alarm.at)),
      ...[place, alarm.severity, alarm.action, alarm.reason, alarm.segment, alarm.message].map(cell),
    );
  });
  const columns = ["event", "since the fault", "severity", "action", "reason", "about", "in words"];
  const heads = html("tr", {}, ...columns.map((name) => html("th", { class: "words", scope: "col" }, name)));
  const table = html("table", {}, html("thead", {}, heads), html("tbody", {}, ...rows));
  return section("What was told", "Every drift event that subscribers would have got, errors coloured.", html("div", { class: "scroll" }, table));
}

document.title = `Livefactor drill: ${figures.fault} in ${series.file}`;
const each = `each point is the mean of what was judged of the ${whole(series.window)} events before it`;
main.replaceChildren(
  head(),
  tiles(),
  course("Around the fault", `The three models that are compared, and the live model of the undisturbed twin; ${each}.`, series.close, 360),
  course("The whole stream", `The same from the first event to the last; ${each}.`, series.whole, 290),
  ...(fault.none ? [] : [cost()]),
  told(),
  section("All figures", "As livefactor drill --json prints them.", list(figures)),
);
drawPlots();
