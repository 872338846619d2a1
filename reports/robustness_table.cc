#include "reports/robustness_table.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <set>
#include <tuple>

#include "reports/by_task.h"
#include "reports/robustness.h"

namespace swy::report {
namespace {

// One seed of one router, and the dense model of the same seed where there is one.
struct Run {
  StressResults stress;
  const StressResults* dense = nullptr;
};

struct Row {
  const RouterRecords* router;
  std::map<int64_t, Run> runs;  // by seed, of those that ended well and hold results under stress
  std::string seeds_text() const {
    std::string text = std::to_string(runs.size());
    for (const auto& [state, n] : router->other) text += ", " + std::to_string(n) + " " + state;
    const size_t without = router->ok.size() - runs.size();
    return without ? text + ", " + std::to_string(without) + " without" : text;
  }
};

// One value, or several of one kind that are shown as "a/b/c". All of them are of errors, growth or churn, so that
// lower is better.
struct Column {
  std::string header;
  const char* format;
  std::function<std::vector<double>(const Run&)> values;
  bool interval = false;
  std::function<std::string(const Run&)> where = {};  // shown when all seeds agree
};

std::string without_sign(std::string format) {
  std::erase(format, '+');
  return format;
}
std::string with_sign(const std::string& format) { return "%+" + without_sign(format).substr(1); }

Column one(std::string header, const char* format, std::function<double(const Run&)> value) {
  return {std::move(header), format, [value](const Run& run) { return std::vector<double>{value(run)}; }, true};
}
Column plain(std::string header, const char* format, std::function<double(const Run&)> value) {
  Column column = one(std::move(header), format, std::move(value));
  column.interval = false;
  return column;
}

struct Stressed {
  const TaskRecords& task;
  bool text = false;
  std::vector<Row> rows;           // none is empty
  std::vector<std::string> notes;  // on what is missing
};

std::vector<double> over_seeds(const Column& column, size_t index, const Row& row) {
  std::vector<double> all;
  for (const auto& [seed, run] : row.runs) {
    const double value = column.values(run)[index];
    if (!std::isnan(value)) all.push_back(value);
  }
  return all;
}

std::string cell(const Column& column, const Row& row) {
  std::string text;
  const size_t n = column.values(row.runs.begin()->second).size();
  for (size_t i = 0; i < n; ++i) {
    const Interval interval = t_interval(over_seeds(column, i, row));
    text += i ? "/" : "";
    if (std::isinf(interval.mean))
      text += "not finite";
    else
      text += column.interval ? with_interval(interval, column.format, without_sign(column.format).c_str())
                              : number(interval.mean, column.format);
  }
  if (column.where) {
    std::set<std::string> places;
    for (const auto& [seed, run] : row.runs) places.insert(column.where(run));
    if (places.size() == 1 && !places.begin()->empty()) text += " " + *places.begin();
  }
  return text;
}

bool anybody(const Column& column, const std::vector<Row>& rows) {
  for (const Row& row : rows)
    for (size_t i = 0; i < column.values(row.runs.begin()->second).size(); ++i)
      if (!over_seeds(column, i, row).empty()) return true;
  return false;
}

Table table_of(const std::string& title, const Stressed& s, std::vector<Column> columns) {
  std::erase_if(columns, [&](const Column& c) { return !anybody(c, s.rows); });
  Table table{title, {"router", "seeds"}, {}, {}};
  for (const Column& c : columns) table.header.push_back(c.header);
  for (const Row& row : s.rows) {
    table.rows.push_back({row.router->label, row.seeds_text()});
    for (const Column& c : columns) table.rows.back().push_back(cell(c, row));
  }
  return table;
}

// The values at which anybody has a point of that curve.
std::vector<double> values_of(const Stressed& s, const std::string& group, const std::string& name) {
  std::set<double> values;
  for (const Row& row : s.rows)
    for (const auto& [seed, run] : row.runs)
      for (const auto& [value, point] : curve(run.stress, group, name, Measure::kHarm)) values.insert(value);
  return {values.begin(), values.end()};
}

std::string joined(const std::vector<double>& values) {
  std::string text;
  for (const double v : values) text += (text.empty() ? "" : "/") + number(v, "%g");
  return text;
}

Column curve_column(const Stressed& s, const std::string& header, const char* format, const std::string& group,
                    const std::string& name, Measure measure) {
  const std::vector<double> at = values_of(s, group, name);
  return {header + " " + joined(at), format, [=](const Run& run) {
            const std::map<double, double> points = curve(run.stress, group, name, measure);
            std::vector<double> values;
            for (const double v : at) values.push_back(points.count(v) ? 100 * points.at(v) : kNotMeasured);
            return values;
          }};
}

// "cifar10", and of a folder its last name
std::string short_id(const std::string& id) { return id.substr(id.find_last_of(":/") + 1); }

// One column per attack or other data set that anybody was measured under: what it costs there.
std::vector<Column> columns_by_condition(const Stressed& s, const std::string& group) {
  std::vector<std::tuple<std::string, int, double>> seen;
  for (const Row& row : s.rows)
    for (const auto& [seed, run] : row.runs)
      for (const StressResult* r : run.stress.of(group))
        if (const std::tuple key(r->name, r->steps, r->value); std::find(seen.begin(), seen.end(), key) == seen.end())
          seen.push_back(key);
  std::vector<Column> columns;
  for (const auto& [name, steps, value] : seen) {
    std::string header = group == "shift" ? "on " + short_id(name) : name;
    if (steps > 0) header += "-" + std::to_string(steps);
    if (value != 0) header += number(value, " %g");
    const double scale = s.text ? 1 : 100;
    columns.push_back(plain(header + (s.text ? "" : " %"), s.text ? "%.4f" : "%.2f",
                            [=, n = name, st = steps, v = value](const Run& run) {
                              for (const StressResult* r : run.stress.of(group))
                                if (r->name == n && r->steps == st && r->value == v) return scale * run.stress.cost(*r);
                              return kNotMeasured;
                            }));
  }
  return columns;
}

// In what the clean cost of text is shown: bits per byte or character where a token is one.
struct TextUnit {
  const char* name;
  double nats;  // one of it
};
TextUnit text_unit(const Json& task) {
  const std::string unit = task.value("text_unit", ""), tokenizer = task.value("tokenizer", "");
  if (unit == "byte" && tokenizer == "byte") return {"bits/byte", std::log(2.0)};
  if (unit == "character") return {"bits/character", std::log(2.0)};
  return {"nats/token", 1};
}

Column clean_column(const Stressed& s) {
  if (!s.text) return one("clean %", "%.2f", [](const Run& run) { return 100 * run.stress.clean_cost(); });
  const TextUnit unit = text_unit(s.task.example->at("task"));
  return one(std::string("clean ") + unit.name, "%.4f",
             [=](const Run& run) { return run.stress.clean_cost() / unit.nats; });
}

// "75", "4", "4 to 75": how many conditions the means are of.
std::pair<int, int> cells_of(const Stressed& s) {
  std::pair<int, int> span = {kCorruptionCells, 0};
  for (const Row& row : s.rows)
    for (const auto& [seed, run] : row.runs) {
      const int cells = static_cast<int>(run.stress.data().size());
      span = {std::min(span.first, cells), std::max(span.second, cells)};
    }
  return span;
}
std::string span_text(std::pair<int, int> span) {
  const std::string most = std::to_string(span.second);
  return span.first == span.second ? most : std::to_string(span.first) + " to " + most;
}

Column mean_column(const Stressed& s) {
  if (s.text) return one("growth %", "%+.2f", [](const Run& run) { return 100 * noise_scores(run.stress).growth; });
  const std::pair<int, int> cells = cells_of(s);
  const std::string header = cells.first == kCorruptionCells ? "mCE %" : "mean of " + span_text(cells) + " %";
  return one(header, "%.2f", [](const Run& run) { return 100 * corruption_scores(run.stress).mean_error; });
}
Column relative_column(const Stressed& s) {
  if (s.text)
    return one("growth, intact %", "%+.2f",
               [](const Run& run) { return 100 * noise_scores(run.stress).growth_intact; });
  return one("minus clean %", "%+.2f", [](const Run& run) { return 100 * corruption_scores(run.stress).excess; });
}
Column moved_column() {
  return one("moved %", "%.2f", [](const Run& run) { return 100 * data_churn(run.stress).moved; });
}
Column lost_column(const char* how) {
  return one(std::string("1 lost, ") + how, "%+.2f", [=](const Run& run) {
    const StressResult* r = run.stress.find("lost", std::string("most_used_") + how, 1);
    return r ? 100 * run.stress.harm(*r) : kNotMeasured;
  });
}

Table data_table(const Stressed& s) {
  std::vector<Column> columns = {clean_column(s), mean_column(s), relative_column(s)};
  if (s.text) {
    Column worst = plain("worst %", "%+.2f", [](const Run& run) { return 100 * noise_scores(run.stress).worst.value; });
    worst.where = [](const Run& run) { return noise_scores(run.stress).worst.where; };
    columns.push_back(worst);
  } else {
    const auto by_dense = [](double NormalisedError::*which) {
      return
          [which](const Run& run) { return run.dense ? normalised_by(run.stress, *run.dense).*which : kNotMeasured; };
    };
    columns.push_back(plain("/clean", "%.2f", [](const Run& run) { return corruption_scores(run.stress).ratio; }));
    columns.push_back(plain("/dense", "%.3f", by_dense(&NormalisedError::error)));
    columns.push_back(plain("relative/dense", "%.3f", by_dense(&NormalisedError::relative)));
    if (short_id(s.task.example->at("task").at("dataset")) == "imagenet")
      columns.push_back(one("mCE/AlexNet %", "%.2f", [](const Run& run) { return 100 * alexnet_mce(run.stress); }));
    Column worst = plain("worst %", "%.2f", [](const Run& r) { return 100 * corruption_scores(r.stress).worst.value; });
    worst.where = [](const Run& run) { return corruption_scores(run.stress).worst.where; };
    columns.push_back(worst);
    columns.push_back(plain("area", "%.3f", [](const Run& run) { return corruption_scores(run.stress).area; }));
  }
  for (const char* group : {"attack", "shift"})
    for (Column& c : columns_by_condition(s, group)) columns.push_back(std::move(c));
  Table table = table_of(s.task.title() + ": under stress", s, std::move(columns));

  const std::pair<int, int> cells = cells_of(s);
  if (s.text) {
    const std::string unit = text_unit(s.task.example->at("task")).name;
    table.notes.push_back("growth: of " + unit + " against clean, mean over noises of the mean over their rates (" +
                          span_text(cells) +
                          " conditions); intact: on targets that the noise left alone, against all "
                          "clean ones; worst: the noise and rate of largest growth");
  } else {
    table.notes.push_back(cells.first == kCorruptionCells
                              ? "mCE: mean error over 15 corruptions x 5 severities, without a normaliser"
                              : "not the mean corruption error: " + span_text(cells) +
                                    " of its 75 cells were measured");
    table.notes.push_back(
        "/clean: over the clean error; /dense: by the dense model's error of the same seed, per corruption, 1 is "
        "equal; "
        "relative/dense: the same of errors minus clean; worst: the cell of highest error, named where all seeds "
        "agree; "
        "area: under accuracy against severity 0 to 5, higher is better; attacks: error inside that many 1/255");
  }
  table.notes.push_back("mean ± half of the 95 % Student-t interval over seeds");
  table.notes.insert(table.notes.end(), s.notes.begin(), s.notes.end());
  return table;
}

Table routing_table(const Stressed& s) {
  const auto changed = [](const Run& run) { return 100 * data_churn(run.stress).changed; };
  const auto lent = [](const Run& run) { return 100 * lent_churn(run.stress).moved; };
  const auto early = [](const Run& run) {
    const StressResult* r = run.stress.find("early", "router", 0);
    return r ? 100 * run.stress.harm(*r) : kNotMeasured;
  };
  const auto order = [](const Run& run) {
    std::vector<double> values;
    for (const char* name : {"reversed", "shuffled"}) {
      const StressResult* r = run.stress.find("order", name, 0);
      values.push_back(r ? 100 * run.stress.harm(*r) : kNotMeasured);
    }
    return values;
  };
  Table table = table_of(s.task.title() + ": routing under stress", s,
                         {one("changed %", "%.2f", changed),
                          moved_column(),
                          plain("lent moved %", "%.2f", lent),
                          lost_column("rerouted"),
                          lost_column("residual"),
                          curve_column(s, "moved % at noise", "%.1f", "states", "gaussian", Measure::kMoved),
                          curve_column(s, "capacity", "%+.1f", "capacity", "slots", Measure::kHarm),
                          plain("early", "%+.2f", early),
                          {"reversed/shuffled", "%+.2f", order}});
  const std::string data = s.text ? "noises, of tokens they left alone" : "corruptions";
  table.notes.push_back(
      "changed: share of tokens whose experts are others than in the clean data, moved: share of "
      "their weight that sits elsewhere, mean over " +
      data +
      "; lent: of experts that the router "
      "runs by itself; at noise: on what routers see, by its size relative to the token");
  table.notes.push_back(std::string(s.text ? "growth of loss in %" : "error in points") +
                        " against clean: the most used expert of each layer lost, its tokens rerouted or left to the "
                        "residual path; capacity: in evaluation, as a multiple of the plan's; early: the router of a "
                        "quarter of training in the trained model; the same data in another order");
  return table;
}

// Which of the routers to compare with: a plain softmax router if there is one.
const Row* baseline(const Stressed& s) {
  for (const char* id : {"softmax_token_choice", "switch_top1", "random"}) {
    const Row* found = nullptr;
    for (const Row& row : s.rows)
      if (row.router->router == id && (!found || row.router->label == id)) found = &row;
    if (found) return found;
  }
  return s.rows.size() > 1 ? &s.rows[0] : nullptr;
}

// Over the seeds in which both saw the same conditions; nothing when there is none.
std::optional<PairedDifference> difference(const Column& column, const Row& row, const Row& base) {
  std::vector<double> a, b;
  for (const auto& [seed, run] : row.runs) {
    const auto other = base.runs.find(seed);
    if (other == base.runs.end() || !same_conditions(run.stress, other->second.stress)) continue;
    const double x = column.values(run)[0], y = column.values(other->second)[0];
    if (std::isnan(x) || std::isnan(y)) continue;
    a.push_back(x), b.push_back(y);
  }
  if (a.empty()) return std::nullopt;
  return paired_difference(a, b, false);
}

std::optional<Table> difference_table(const Stressed& s) {
  const Row* base = baseline(s);
  if (!base || s.rows.size() < 2) return std::nullopt;
  std::vector<Column> columns = {clean_column(s), mean_column(s),          relative_column(s),
                                 moved_column(),  lost_column("rerouted"), lost_column("residual")};
  std::erase_if(columns, [&](const Column& c) { return !anybody(c, s.rows); });
  Table table{s.task.title() + ": minus " + base->router->label + ", paired by seed", {"router"}, {}, {}};
  std::vector<std::map<std::string, std::string>> verdicts(columns.size());  // by column: word -> routers
  for (const Column& c : columns) table.header.push_back(c.header);
  for (const Row& row : s.rows) {
    if (&row == base) continue;
    table.rows.push_back({row.router->label});
    for (size_t c = 0; c < columns.size(); ++c) {
      const std::optional<PairedDifference> d = difference(columns[c], row, *base);
      table.rows.back().push_back(d ? with_interval(d->difference, with_sign(columns[c].format).c_str(),
                                                    without_sign(columns[c].format).c_str())
                                    : "-");
      if (!d) continue;
      const char* word = d->verdict == Verdict::kBetter  ? "better"
                         : d->verdict == Verdict::kWorse ? "worse"
                                                         : "not separable";
      std::string& list = verdicts[c][word];
      list += (list.empty() ? "" : ", ") + row.router->label;
    }
  }
  table.notes.push_back(
      "mean ± half of the 95 % Student-t interval of the paired difference, each by itself (no "
      "correction for many comparisons), below 0 is better; not separable: it holds 0, or there are "
      "fewer than two seeds in which both saw the same conditions");
  for (size_t c = 0; c < columns.size(); ++c) {
    std::string text;
    for (const char* word : {"better", "worse", "not separable"})
      if (verdicts[c].count(word)) text += (text.empty() ? "" : "; ") + (word + (": " + verdicts[c][word]));
    if (!text.empty()) table.notes.push_back(columns[c].header + ": " + text);
  }
  return table;
}

// Why conditions have no result: "not measured: capacity slots, the plan has no list ... (soft_moe)".
std::vector<std::string> reasons(const std::vector<Row>& rows) {
  std::map<std::pair<std::string, std::string>, std::set<std::string>> routers;
  bool infinite = false;
  for (const Row& row : rows)
    for (const auto& [seed, run] : row.runs)
      for (const StressResult& r : run.stress.all) {
        if (!r.not_measured.empty()) routers[{r.group + " " + r.name, r.not_measured}].insert(row.router->label);
        infinite |= std::isinf(r.loss) || std::isinf(r.intact_loss);
      }
  std::vector<std::string> notes;
  for (const auto& [what, labels] : routers) {
    std::string list;
    for (const std::string& label : labels) list += (list.empty() ? "" : ", ") + label;
    if (labels.size() == rows.size() && rows.size() > 1) list = "all routers";
    notes.push_back("not measured: " + what.first + ", " + what.second + " (" + list + ")");
  }
  if (infinite) notes.push_back("not finite: the loss overflowed under some condition");
  return notes;
}

Stressed stressed(const TaskRecords& task) {
  Stressed s{task, task.unit == "token", {}, {}};
  std::string nothing;
  for (const RouterRecords* router : task.ranked()) {
    Row row{router, {}};
    for (const auto& [seed, record] : router->ok)
      if (StressResults results = stress_results(*record); !results.all.empty()) row.runs[seed] = {std::move(results)};
    if (row.runs.empty())
      nothing += (nothing.empty() ? "" : "; ") + router->label + " (" + router->seeds_text() + ")";
    else
      s.rows.push_back(std::move(row));
  }
  const Row* dense = nullptr;
  for (const Row& row : s.rows)
    if (row.router->router == "none" && (!dense || row.router->label == "none")) dense = &row;
  if (dense)
    for (Row& row : s.rows)
      for (auto& [seed, run] : row.runs)
        if (const auto found = dense->runs.find(seed); found != dense->runs.end()) run.dense = &found->second.stress;
  s.notes = reasons(s.rows);
  if (!nothing.empty()) s.notes.push_back("no results under stress: " + nothing);
  return s;
}

}  // namespace

std::vector<Table> robustness_tables(const std::vector<Json>& records) {
  std::vector<Table> tables;
  const std::vector<TaskRecords> tasks = by_task(records);
  for (const TaskRecords& task : tasks) {
    const Stressed s = stressed(task);
    if (s.rows.empty()) continue;
    tables.push_back(data_table(s));
    tables.push_back(routing_table(s));
    if (std::optional<Table> t = difference_table(s)) tables.push_back(std::move(*t));
  }
  return tables;
}

}  // namespace swy::report
