const { k, models, intervals, scored } = figures.ranking;
const names = Object.keys(models);
const live = series.model;
const METRICS = { hr: `HR@${k}`, ndcg: `NDCG@${k}`, mrr: "MRR", log_loss: "log loss" };
const SPLITS = ["all", "warm", "cold"];
const COLOURS = ["live", "best", "third", "fourth", "fifth", "sixth"];
const choice = { metric: "hr", split: scored.warm ? "warm" : "all" };

// Which model is what

const better = (metric, one, other) => (metric === "log_loss" ? one < other : one > other);

function bestExpert(metric, split) {
  let best = null;
  for (const name of names) {
    const value = models[name][split][metric];
    if (name === live || !known(value)) continue;
    if (best === null || better(metric, value, models[best][split][metric])) best = name;
  }
  return best;
}

function role(name, metric, split) {
  if (name === live) return "live";
  return name === bestExpert(metric, split) ? "best" : "muted";
}

function lift(metric, split) {
  const best = bestExpert(metric, split);
  const own = models[live][split][metric];
  const other = best && models[best][split][metric];
  return { best, own, other, ratio: known(own) && other > 0 ? own / other - 1 : null };
}

const isLevel = (ratio) => Math.abs(ratio) < 0.0005;
const compared = (ratio) =>
  isLevel(ratio) ? "level with" : `${percent(Math.abs(ratio))} ${ratio > 0 ? "above" : "below"}`;
const oftener = (ratio) =>
  isLevel(ratio) ? "as often as" : `${percent(Math.abs(ratio))} ${ratio > 0 ? "more" : "less"} often than`;

function head() {
  const span = [day(series.first_ms), day(series.last_ms)].filter(known);
  const said = [`${whole(figures.events)} events`, ...(span.length === 2 ? [`${span[0]} to ${span[1]}`] : [])];
  said.push(`${whole(scored.all)} scored before they were learnt, ${whole(scored.warm)} of them warm`);
  return html(
    "header",
    {},
    html("h1", {}, `Replay of ${series.file}`),
    html("p", { class: "soft" }, said.join(" · ")),
    verdict(),
  );
}

function verdict() {
  const split = choice.split;
  const { best, own, other, ratio } = lift("hr", split);
  const events = split === "warm" ? "warm events" : "scored events";
  if (!known(own)) return html("p", { class: "verdict" }, "No event was scored, so there is nothing to compare.");
  const said = html("p", { class: "verdict" }, html("b", {}, live));
  said.append(` had the right item among its first ${k} for ${percent(own)} of ${whole(scored[split])} ${events}`);
  if (best && ratio === null) said.append(`; the best single model was ${best} with ${percent(other)}.`);
  else if (best) said.append(`: ${oftener(ratio)} the best single model, ${best} (${percent(other)}).`);
  else said.append(".");
  return said;
}

function tiles() {
  const split = choice.split;
  const found = Object.entries(METRICS).map(([metric, label]) => {
    const { best, own, other, ratio } = lift(metric, split);
    const limits = intervals[live][split][metric];
    const note = best ? `${ratio === null ? "beside" : compared(ratio)} ${best} (${FORMATS.score(other)})` : "";
    return tile(`${label}, ${split}`, FORMATS.score(own), limits ? `${note}; ${between(limits, FORMATS.score)}` : note);
  });
  const memory = `${whole(figures.peak_rss_bytes / 2 ** 20)} MiB of memory at most`;
  found.push(tile("events per second", whole(figures.events_per_second), `all models together; ${memory}`));
  return html("div", { class: "tiles" }, ...found);
}

function overTime(metric, split) {
  const found = series.rolling[split];
  const lines = names.map((name) => ({
    name,
    role: role(name, metric, split),
    x: found.events,
    y: found.models[name][metric],
  }));
  const chart = lineChart(`${METRICS[metric]} over the stream, ${split}`, lines, {
    format: "score",
    zero: metric !== "log_loss",
    height: 360,
  });
  const best = bestExpert(metric, split);
  const beside = best ? `; the best single model over the whole stream is ${best}` : "";
  const lower = metric === "log_loss" ? " (lower is better)" : "";
  const says = `${METRICS[metric]}${lower} of ${split === "all" ? "all" : split} events, each point the mean of the ${whole(found.window)} scored before it${beside}. The other models are grey: point at a name.`;
  return section("Accuracy over time", says, chart);
}

function standings(metric, split) {
  const rows = names.map((name) => ({
    name,
    role: role(name, metric, split),
    value: models[name][split][metric],
    between: intervals[name][split][metric],
  }));
  const none = metric === "log_loss" ? Infinity : -Infinity;
  const sign = metric === "log_loss" ? 1 : -1;
  rows.sort((one, other) => sign * ((one.value ?? none) - (other.value ?? none)) || 0);
  const lower = metric === "log_loss" ? ", lower is better" : "";
  const says = `${METRICS[metric]} over all ${whole(scored[split])} ${split === "all" ? "scored" : split} events, best first${lower}; the thin lines are 95 % intervals.`;
  return section("Where every model ended", says, barChart(rows, FORMATS.score));
}

/** Four characters or so, for many columns. */
const short = (value) => (value < 1 ? value.toFixed(4).replace(/^0/, "") : value.toFixed(2));

function table() {
  const columns = SPLITS.flatMap((split) => Object.keys(METRICS).map((metric) => [split, metric]));
  const tops = columns.map(([split, metric]) => {
    const values = names.map((name) => models[name][split][metric]).filter(known);
    return metric === "log_loss" ? Math.min(...values) : Math.max(...values);
  });
  const first = (metric) => (metric === "hr" ? "first" : "");
  const row = (name) => {
    const cells = columns.map(([split, metric], n) => {
      const value = models[name][split][metric];
      const limits = intervals[name][split][metric];
      const shown = value === tops[n] ? "top" : "";
      const small = limits ? html("small", {}, limits.map(short).join("–")) : null;
      return html("td", { class: `${first(metric)} ${shown}` }, FORMATS.score(value), small);
    });
    return html("tr", { class: name === live ? "live" : "" }, html("th", { scope: "row" }, name), ...cells);
  };
  const groups = SPLITS.map((split) =>
    html("th", { class: "split first", colspan: "4", scope: "colgroup" }, `${split}: ${whole(scored[split])} events`),
  );
  const labels = columns.map(([, metric]) => html("th", { class: first(metric), scope: "col" }, METRICS[metric]));
  const heads = html("thead", {}, html("tr", {}, html("td"), ...groups), html("tr", {}, html("td"), ...labels));
  const body = html("tbody", {}, ...names.map(row));
  const says = "Every model on the same events; the best of each column is bold, and below each figure stands its 95 % interval.";
  return section("All figures", says, html("div", { class: "scroll" }, html("table", {}, heads, body)));
}

function warmAndCold() {
  const share = series.warm_share;
  const line = { name: "warm", role: "live", x: share.events, y: share.share };
  const left = half(
    "How much is warm",
    `The share of warm events, whose user and item were seen before, among the ${whole(share.window)} scored before each point; over all it was ${scored.all ? percent(scored.warm / scored.all) : "–"}.`,
    lineChart("Share of warm events", [line], { format: "share", height: 240 }),
  );
  const best = bestExpert("hr", choice.split);
  const shown = [live, best, "popularity"].filter((name, n, all) => name in models && all.indexOf(name) === n);
  const rows = SPLITS.flatMap((split) => [
    { heading: `${split}: ${whole(scored[split])} events` },
    ...shown.map((name) => ({
      name,
      role: name === live ? "live" : name === best ? "best" : "third",
      value: models[name][split].hr,
      between: intervals[name][split].hr,
    })),
  ]);
  const says = `${METRICS.hr} of ${shown.join(", ")} on all events and on either part; an item never seen is a miss for all.`;
  return pair("Warm and cold", left, half("What that does to hits", says, barChart(rows, FORMATS.score)));
}

function calibration() {
  const found = series.calibration;
  const lists = found.lists.reduce((one, other) => one + other, 0);
  const total = (values) => values.reduce((sum, value, n) => sum + (value ?? 0) * found.lists[n], 0) / lists;
  const says = lists
    ? `Each point is about a tenth of the lists of ${k}: how probable ${live} thought it that the wanted item is in the list, and how often it was. On the dashed line it is as right as it says. On average it expected ${percent(total(found.predicted))} and had ${percent(total(found.observed))}.`
    : "";
  const left = half("Does it know how sure to be?", says, lists ? reliability(found) : emptyBox("No list was observed."));
  const best = bestExpert("log_loss", choice.split);
  const shown = [live, best, "popularity"].filter((name, n, all) => name in models && all.indexOf(name) === n);
  const rolled = series.rolling[choice.split];
  const lines = shown.map((name) => ({
    name,
    role: name === live ? "live" : name === best ? "best" : "third",
    x: rolled.events,
    y: rolled.models[name].log_loss,
  }));
  const right = half(
    "How surprised it was",
    `Log loss of the item that came (${choice.split} events), each point the mean of ${whole(rolled.window)}; lower is better, and e to its power is the number of equally likely items it would be like to guess among.`,
    lineChart("Log loss over the stream", lines, { format: "score", zero: false, height: 300 }),
  );
  return pair("Calibration", left, right);
}

function reliability(found) {
  const rows = found.lists.map((_, n) => n).filter((n) => known(found.predicted[n]));
  const most = Math.max(...rows.flatMap((n) => [found.predicted[n], found.high[n]])) * 1.05;
  const spec = { format: "share", xFormat: "share", xLabel: "probability of a hit as predicted" };
  const drawn = plotBox("Predicted and observed probability of a hit", (width) => {
    const { drawing, toX, toY } = axes(width, 300, [0, most], [0, most], spec);
    drawing.append(svg("line", { class: "ideal", x1: toX(0), y1: toY(0), x2: toX(most), y2: toY(most) }));
    for (const n of rows) {
      const x = toX(found.predicted[n]);
      const said = `${whole(found.lists[n])} lists: predicted ${percent(found.predicted[n])}, observed ${percent(found.observed[n])} (${between([found.low[n], found.high[n]], FORMATS.share)})`;
      const group = svg("g", {}, svg("title", {}, said));
      group.append(svg("line", { class: "whisker", x1: x, x2: x, y1: toY(found.low[n]), y2: toY(found.high[n]) }));
      group.append(svg("circle", { class: "dot live", cx: x, cy: toY(found.observed[n]), r: 5 }));
      drawing.append(group);
    }
    return drawing;
  });
  return drawn;
}

const CHOOSERS = { model: ["live", live], popularity: ["third", "the most popular items"], chosen: ["best", "what people chose"] };

function chooserLines(events, choosers, values) {
  return Object.entries(choosers).map(([key, found]) => {
    const [role, name] = CHOOSERS[key];
    return { name, role, x: events, y: values(found) };
  });
}

function coverage() {
  const { events, items, choosers } = series.coverage;
  const last = items.findLastIndex((count) => count > 0);
  const says =
    last < 0
      ? "Which share of the catalogue is ever recommended."
      : `Which share of the items known by then was in a list of ${k} for a scored event. By the end ${live} had shown ${FORMATS.share(choosers.model.so_far[last])} of ${whole(items[last])} items; the most popular items alone would have shown ${FORMATS.share(choosers.popularity.so_far[last])}.`;
  const draw = (key) =>
    lineChart("Catalogue coverage", chooserLines(events, choosers, (found) => found[key]), { format: "share", height: 260 });
  return section("Catalogue coverage", says, ...switched("Coverage", { so_far: "since the start", stretch: "in each stretch" }, draw));
}

function popularity() {
  const { events, shares, choosers, overall } = series.popularity;
  const widest = percent(shares.at(-1), 0);
  const total = (key) => FORMATS.share(overall[key].top.at(-1));
  const found = known(overall.model.place)
    ? ` The top ${widest} had ${total("model")} of ${live}'s places and ${total("chosen")} of what people then chose.`
    : "";
  const says = `Which share of the places in lists the most popular items held: high means the same for everyone, low means more of the long tail.${found}`;
  const options = Object.fromEntries(shares.map((share, n) => [n, `top ${percent(share, 0)}`]));
  const draw = (key) => {
    const values = (found) => (key === "place" ? found.place : found.top[key]);
    return lineChart("Popularity of what is listed", chooserLines(events, choosers, values), { format: "share", height: 260 });
  };
  return section("Popularity share", says, ...switched("Popularity", { ...options, place: "mean place (0 % = most popular)" }, draw));
}

function weights() {
  const { events, groups } = series.weights;
  const charts = Object.entries(groups).map(([group, found]) => {
    const lines = Object.entries(found).map(([name, y], n) => ({ name, role: COLOURS[n] ?? "muted", x: events, y }));
    return half(group, "", lineChart(`Weights: ${group}`, lines, { format: "weight", zero: true, height: 240 }));
  });
  const box = html("div", { class: "pair" }, ...charts);
  return section("Weights", `What the ranking score of ${live} has learnt to trust, over the stream, by group of its parts.`, box);
}

function throughput() {
  const { events, events_per_second: rate } = series.throughput;
  const lines = [{ name: "events per second", role: "live", x: events, y: rate }];
  const says = `Events per second in each stretch of the stream, scoring and learning ${names.length} models; over all ${whole(figures.events_per_second)} in ${figures.seconds.toFixed(1)} s.`;
  return section("Throughput", says, lineChart("Throughput", lines, { format: "rate", height: 220 }));
}

function ratings() {
  const { events, models: found } = series.ratings;
  const totals = figures.rating.models;
  const ERRORS = { rmse: "RMSE", mae: "MAE" };
  const best = (key) =>
    Object.keys(totals)
      .filter((name) => name !== "live" && known(totals[name][key]))
      .sort((one, other) => totals[one][key] - totals[other][key])[0];
  const roleOf = (name, key) => (name === "live" ? "live" : name === best(key) ? "best" : "muted");
  const draw = (key) => {
    const lines = Object.keys(found).map((name) => ({ name, role: roleOf(name, key), x: events, y: found[name][key] }));
    const rows = Object.keys(totals)
      .map((name) => ({ name, role: roleOf(name, key), value: totals[name][key] }))
      .sort((one, other) => (one.value ?? Infinity) - (other.value ?? Infinity));
    return html(
      "div",
      {},
      lineChart(`${ERRORS[key]} over the stream`, lines, { format: "score", zero: false, height: 300 }),
      html("h3", {}, `${ERRORS[key]} over all rated events`),
      barChart(rows, FORMATS.score),
    );
  };
  const own = totals.live;
  const says = `Errors of ratings predicted just before each was learnt, in each stretch of the stream; lower is better. Over all live has MAE ${FORMATS.score(own.mae)} and RMSE ${FORMATS.score(own.rmse)}.`;
  return section("Ratings", says, ...switched("Error", ERRORS, draw));
}

function protocol() {
  return section(
    "How this was measured",
    "Test, then learn: every event is scored by every model before any of them learns from it.",
    details("Protocol", list(figures.protocol)),
    details("The file, and what the steps counted", list({ ...figures.input, ...figures.counts })),
    details("Settings", html("pre", {}, JSON.stringify(figures.config, null, 2))),
  );
}

// The page

document.title = `Livefactor replay: ${series.file}`;
const chosen = html("div");

/** What depends on the metric and the split that are chosen. */
function draw() {
  const { metric, split } = choice;
  chosen.replaceChildren(overTime(metric, split), standings(metric, split));
}
const pick = (what) => (key) => {
  choice[what] = key;
  draw();
};
const choices = html(
  "div",
  { class: "bar-of-choices" },
  choose("Metric", METRICS, choice.metric, pick("metric")),
  choose("Events", { warm: "warm", cold: "cold", all: "all" }, choice.split, pick("split"), (split) => !scored[split]),
);
main.replaceChildren(
  head(),
  tiles(),
  html("div", {}, choices, chosen),
  ...(series.ratings ? [ratings()] : []),
  table(),
  warmAndCold(),
  calibration(),
  coverage(),
  popularity(),
  ...(series.weights ? [weights()] : []),
  throughput(),
  protocol(),
);
drawPlots();
