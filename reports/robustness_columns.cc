#include "reports/robustness_columns.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>
#include <tuple>

namespace swy::report {
namespace {

using Run = StressedRun;
using Column = StressColumn;
using Value = std::function<double(const Run&)>;

// With its interval over seeds, or without where the table would grow too wide.
Column column(const std::string& header, const std::string& format, bool interval, const std::string& note,
              const Value& value) {
  return {header, note, format, interval, [value](const Run& run) { return std::vector<double>{value(run)}; }, nullptr};
}

std::string text_of(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

// "cifar10", and of a folder its last name
std::string short_id(const std::string& id) { return id.substr(id.find_last_of(":/") + 1); }

double harm_percent(const StressResults& s, const StressResult* r) { return r ? 100 * s.harm(*r) : kNotMeasured; }

const char* harm_text(const StressedTask& s) { return s.text ? "growth of loss in %" : "error in points"; }

Column clean_column(const StressedTask& s) {
  if (!s.text) return column("clean %", "%.2f", true, "", [](const Run& r) { return 100 * r.stress.clean_cost(); });
  const TextUnit unit = text_unit(s.task);
  return column(std::string("clean ") + unit.name, "%.4f", true, "",
                [unit](const Run& r) { return r.stress.clean_cost() / unit.nats; });
}

Column mean_column(const StressedTask& s) {
  if (s.text)
    return column("growth %", "%+.2f", true,
                  std::string("growth: of ") + text_unit(s.task).name +
                      " against clean, mean over noises of the mean over their rates (" + s.conditions_text() +
                      (s.conditions_text() == "1" ? " condition)" : " conditions)"),
                  [](const Run& r) { return 100 * noise_scores(r.stress).growth; });
  const bool all = s.all_corruptions();
  return column(all ? "mCE %" : "mean of " + s.conditions_text() + " %", "%.2f", true,
                all ? "mCE: mean corruption error over 15 corruptions x 5 severities, without a normaliser"
                    : "mean error under " + s.conditions_text() + " of the 75 cells: not the mean corruption error",
                [](const Run& r) { return 100 * corruption_scores(r.stress).mean_error; });
}

Column relative_column(const StressedTask& s) {
  if (s.text)
    return column("intact growth %", "%+.2f", true,
                  "intact: on targets that the noise left alone, against the same ones without it",
                  [](const Run& r) { return 100 * noise_scores(r.stress).growth_intact; });
  return column("above clean %", "%+.2f", true, "above clean: that mean minus the clean error, in points",
                [](const Run& r) { return 100 * corruption_scores(r.stress).excess; });
}

Column worst_column(const StressedTask& s) {
  const bool text = s.text;
  const auto worst = [text](const Run& r) {
    return text ? noise_scores(r.stress).worst : corruption_scores(r.stress).worst;
  };
  Column c =
      column("worst %", text ? "%+.2f" : "%.2f", false, "worst: of single conditions, named where all seeds agree",
             [worst](const Run& r) { return 100 * worst(r).value; });
  c.where = [worst](const Run& r) { return worst(r).where; };
  return c;
}

Column moved_column(const StressedTask& s) {
  return column("moved %", "%.2f", true,
                std::string("moved: share of a token's weight that sits on other experts than in the clean data, mean "
                            "over ") +
                    (s.text ? "noises, of tokens they left alone" : "corruptions") +
                    "; a router that does not look at its input moves none",
                [](const Run& r) { return 100 * data_churn(r.stress).moved; });
}

Column lost_column(const StressedTask& s, const std::string& how) {
  return column("1 lost, " + how, "%+.2f", true,
                how == "residual" ? ""
                                  : std::string("1 lost: ") + harm_text(s) +
                                        " against clean without the most used expert of each layer, its tokens "
                                        "rerouted or left to the residual path",
                [how](const Run& r) { return harm_percent(r.stress, r.stress.find("lost", "most_used_" + how, 1)); });
}

// All points of the curve that anybody has.
Column curve_column(const StressedTask& s, const std::string& header, const std::string& format,
                    const std::string& note, const std::string& group, const std::string& name, Measure measure) {
  std::set<double> at;
  for (const StressedRow& row : s.rows)
    for (const auto& [seed, run] : row.runs)
      for (const auto& [value, point] : curve(run.stress, group, name, measure)) at.insert(value);
  std::string list;
  for (const double v : at) list += (list.empty() ? " " : "/") + text_of(v);
  return {header + list, note, format, false, [=](const Run& run) {
            const std::map<double, double> points = curve(run.stress, group, name, measure);
            std::vector<double> values;
            for (const double v : at) values.push_back(points.count(v) ? 100 * points.at(v) : kNotMeasured);
            return values;
          }};
}

Column order_column(const StressedTask& s) {
  return {"reversed/shuffled",
          std::string("reversed/shuffled: ") + harm_text(s) + " when the data come in another order", "%+.2f", false,
          [](const Run& r) {
            return std::vector<double>{harm_percent(r.stress, r.stress.find("order", "reversed", 0)),
                                       harm_percent(r.stress, r.stress.find("order", "shuffled", 0))};
          }};
}

// One per attack or other data set that anybody was measured under: what the model costs there.
void add_by_condition(const StressedTask& s, const std::string& group, const std::string& note,
                      std::vector<Column>& columns) {
  std::vector<std::tuple<std::string, int, double>> seen;
  for (const StressedRow& row : s.rows)
    for (const auto& [seed, run] : row.runs)
      for (const StressResult* r : run.stress.of(group))
        if (const std::tuple key(r->name, r->steps, r->value); std::find(seen.begin(), seen.end(), key) == seen.end())
          seen.push_back(key);
  for (const auto& key : seen) {
    const auto& [name, steps, value] = key;
    std::string header = group == "shift" ? "on " + short_id(name) : name;
    if (steps > 0) header += "-" + std::to_string(steps);
    if (value != 0) header += " " + text_of(value);
    const double scale = s.text ? 1 : 100;
    columns.push_back(column(header + (s.text ? "" : " %"), s.text ? "%.4f" : "%.2f", false, key == seen[0] ? note : "",
                             [group, key, scale](const Run& run) {
                               for (const StressResult* r : run.stress.of(group))
                                 if (std::tuple(r->name, r->steps, r->value) == key) return scale * run.stress.cost(*r);
                               return kNotMeasured;
                             }));
  }
}

}  // namespace

std::vector<Column> data_columns(const StressedTask& s) {
  std::vector<Column> columns = {clean_column(s), mean_column(s), relative_column(s)};
  if (!s.text) {
    const auto by_dense = [](double NormalisedError::*which) {
      return [which](const Run& r) { return r.dense ? normalised_by(r.stress, *r.dense).*which : kNotMeasured; };
    };
    columns.push_back(column("by clean", "%.2f", false, "by clean: that mean over the clean error",
                             [](const Run& r) { return corruption_scores(r.stress).ratio; }));
    columns.push_back(column("by dense", "%.3f", false,
                             "by dense: sum over severities by that of the dense model of the same seed, mean over "
                             "corruptions, 1 is equal",
                             by_dense(&NormalisedError::error)));
    columns.push_back(column("above clean by dense", "%.3f", false,
                             "above clean by dense: the same of errors minus clean; none where the dense model loses "
                             "nothing under some corruption",
                             by_dense(&NormalisedError::relative)));
    if (short_id(s.task.example->at("task").at("dataset")) == "imagenet") {
      columns.push_back(column("mCE by AlexNet %", "%.2f", true, "mCE by AlexNet: of ImageNet-C",
                               [](const Run& r) { return 100 * by_alexnet(r.stress).error; }));
      columns.push_back(column("relative mCE by AlexNet %", "%.2f", true,
                               "relative mCE by AlexNet: the same of errors minus clean",
                               [](const Run& r) { return 100 * by_alexnet(r.stress).relative; }));
    }
  }
  columns.push_back(worst_column(s));
  if (!s.text)
    columns.push_back(column("area", "%.3f", false, "area: under accuracy against severity 0 to 5, higher is better",
                             [](const Run& r) { return corruption_scores(r.stress).area; }));
  add_by_condition(s, "attack", "attacks: error inside a ball of that many 1/255 of full brightness", columns);
  add_by_condition(s, "shift", std::string("on: ") + (s.text ? "nats/token" : "error") + " on another data set",
                   columns);
  return columns;
}

std::vector<Column> routing_columns(const StressedTask& s) {
  return {
      column("changed %", "%.2f", true, "changed: share of tokens whose set of experts is another one",
             [](const Run& r) { return 100 * data_churn(r.stress).changed; }),
      moved_column(s),
      column("lent moved %", "%.2f", false, "lent: of the experts that the router runs by itself",
             [](const Run& r) { return 100 * lent_churn(r.stress).moved; }),
      lost_column(s, "rerouted"),
      lost_column(s, "residual"),
      curve_column(s, "moved % at noise", "%.1f",
                   "at noise: Gaussian, on what routers see, by its size relative to the token", "states", "gaussian",
                   Measure::kMoved),
      curve_column(s, "capacity", "%+.1f",
                   std::string("capacity: ") + harm_text(s) + " with that multiple of the slots that the plan fills",
                   "capacity", "slots", Measure::kHarm),
      column("early", "%+.2f", false,
             std::string("early: ") + harm_text(s) + " with the router of a quarter of training",
             [](const Run& r) { return harm_percent(r.stress, r.stress.find("early", "router", 0)); }),
      order_column(s)};
}

std::vector<Column> compared_columns(const StressedTask& s) {
  return {clean_column(s),           mean_column(s), relative_column(s), moved_column(s), lost_column(s, "rerouted"),
          lost_column(s, "residual")};
}

}  // namespace swy::report
