#include "reports/table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "reports/by_task.h"
#include "reports/record.h"
#include "reports/stats.h"

namespace swy::report {
namespace {

size_t width_of(const std::string& text) {  // code points: all characters in use are one column wide
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string parts_text(const RouterRecords& row) {
  const double model = row.flops("model"), experts = row.flops("experts"), router = row.flops("router");
  const double all = model + experts + router;
  if (all <= 0) return "-";
  return number(100 * model / all, "%.0f") + "/" + number(100 * experts / all, "%.0f") + "/" +
         number(100 * router / all, "%.1f");
}

// the headline against the control `random`, paired by seed
std::string against(const RouterRecords& row, const RouterRecords* control, const Shown& headline,
                    bool higher_is_better) {
  if (!control || control == &row) return "";
  std::vector<double> a, b;
  for (const auto& [seed, record] : row.ok) {
    const auto other = control->ok.find(seed);
    if (other == control->ok.end()) continue;
    a.push_back(headline.scale * metric(*record, headline.metric));
    b.push_back(headline.scale * metric(*other->second, headline.metric));
  }
  if (a.empty()) return "-";
  const PairedDifference d = paired_difference(a, b, higher_is_better);
  const char* word = d.verdict == Verdict::kBetter  ? " better"
                     : d.verdict == Verdict::kWorse ? " worse"
                                                    : " not separable";
  const std::string with_sign = "%+" + std::string(headline.format).substr(1);
  return with_interval(d.difference, with_sign.c_str(), headline.format) + word;
}

// What was evaluated, for the note: "test set", or the split, how it was cut and how windows advance.
std::string data_text(const Json& record) {
  const Json& task = record.at("task");
  if (!task.contains("evaluated_split")) return "test set";
  const int64_t context = task.at("context"), stride = task.at("stride");
  std::string text = task["evaluated_split"].get<std::string>() + " split of " + task.at("dataset").get<std::string>() +
                     " (" + task.at("split").get<std::string>() + "), windows of " + std::to_string(context) +
                     " tokens, ";
  return text + (stride == context ? "disjoint" : "advancing by " + std::to_string(stride));
}

// One note for each mark in use, with the routers' own reasons.
std::vector<std::string> causality_notes(const std::vector<const RouterRecords*>& rows) {
  const auto note = [&](const char* mark, const char* phase, const std::string& meaning) {
    std::string text;
    for (const RouterRecords* row : rows) {
      if (row->causal_mark() != mark) continue;
      text += (text.empty() ? "" : "; ") + row->label;
      if (phase) {
        const Json& reason = row->ok.begin()->second->at("causality").at(phase).at("reason");
        if (reason.is_string()) text += " (" + reason.get<std::string>() + ")";
      }
    }
    return text.empty() ? text : mark + (" " + meaning) + ": " + text;
  };
  std::vector<std::string> notes = {
      note(kSeesLater, "score",
           "later tokens reach earlier ones in evaluation too, so the score is not one of a causal model"),
      note(kTrainedOnLater, "train", "later tokens reach earlier ones in training only"),
      note(kNoClaim, nullptr, "makes no claim to be causal")};
  std::erase(notes, "");
  return notes;
}

Table table_of(const TaskRecords& task) {
  const std::vector<const RouterRecords*> rows = task.ranked();
  const RouterRecords* control = nullptr;
  for (const auto& [label, row] : task.routers) {
    if (row.router == "random" && (!control || row.label == "random")) control = &row;
  }
  const Shown& headline = task.headline;
  const bool higher = task.higher_is_better;
  const std::string& unit = task.unit;

  std::vector<Shown> others;
  for (const Shown& s : beside(headline.metric)) {
    if (std::any_of(rows.begin(), rows.end(), [&](const RouterRecords* r) { return !r->values(s.metric).empty(); }))
      others.push_back(s);
  }
  const std::string percent = headline.scale == 100 ? ", %" : "";
  Table table{task.title(), {"router", "seeds", headline.column, "minus random" + percent}, {}, {}};
  for (const Shown& s : others) table.header.push_back(s.column);
  table.header.insert(table.header.end(), {"train FLOPs m/e/r %", "MFLOPs/" + unit, unit + "s/s", "MaxVio", "dropped %",
                                           "unrouted %", "of GEMM %"});
  for (const RouterRecords* row : rows) {
    std::vector<double> values = row->values(headline.metric);
    for (double& v : values) v *= headline.scale;
    table.rows.push_back({row->label + row->causal_mark(), row->seeds_text(),
                          with_interval(t_interval(values), headline.format, headline.format),
                          against(*row, control, headline, higher)});
    for (const Shown& s : others) table.rows.back().push_back(number(s.scale * row->average(s.metric), s.format));
    const double flops = row->average("train_flops_per_" + unit) / 1e6;
    const std::vector<std::string> costs = {parts_text(*row),
                                            number(flops, unit == "token" ? "%.3f" : "%.1f"),
                                            number(row->average("train_" + unit + "s_per_second"), "%.0f"),
                                            number(row->average("max_violation"), "%.2f"),
                                            number(100 * row->average("dropped_share"), "%.1f"),
                                            number(100 * row->average("unrouted_share"), "%.1f"),
                                            number(100 * row->average("gemm_share"), "%.0f")};
    table.rows.back().insert(table.rows.back().end(), costs.begin(), costs.end());
  }
  table.notes.push_back(headline.word + ": " + data_text(*task.example) +
                        ", mean ± half of the 95 % Student-t interval over seeds; FLOPs of training: "
                        "model/experts/router, and per " +
                        unit);
  if (control) {
    table.notes.push_back(std::string("minus random: difference paired by seed with its 95 % interval") +
                          (higher ? "" : ", below 0 is better") + "; not separable = the interval holds 0");
  }
  for (std::string& text : causality_notes(rows)) table.notes.push_back(std::move(text));
  table.notes.push_back(
      "of GEMM: rate of the training step as a share of a dense GEMM in the same process (1024^3 on the CPU)");
  return table;
}

}  // namespace

std::string number(double value, const char* format) {
  if (!std::isfinite(value)) return "-";
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string with_interval(const Interval& i, const char* format, const char* half_format) {
  const std::string text = number(i.mean, format);
  return std::isfinite(i.half) ? text + " ± " + number(i.half, half_format) : text;
}

std::string to_text(const Table& table) {
  std::vector<size_t> width(table.header.size());
  for (size_t c = 0; c < width.size(); ++c) {
    width[c] = width_of(table.header[c]);
    for (const auto& row : table.rows) width[c] = std::max(width[c], width_of(row[c]));
  }
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (size_t c = 0; c < cells.size(); ++c) {
      const std::string pad(width[c] - width_of(cells[c]), ' ');
      text += c == 0 ? cells[c] + pad : "  " + pad + cells[c];
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text + "\n";
  };
  std::string text = table.title + "\n" + line(table.header);
  for (const auto& row : table.rows) text += line(row);
  for (const std::string& note : table.notes) text += note + "\n";
  return text;
}

std::string to_markdown(const Table& table) {
  const auto line = [](const std::vector<std::string>& cells) {
    std::string text = "|";
    for (const std::string& cell : cells) text += " " + cell + " |";
    return text + "\n";
  };
  std::string text = "### " + table.title + "\n\n" + line(table.header) + "|:--|";
  for (size_t c = 1; c < table.header.size(); ++c) text += "--:|";
  text += "\n";
  for (const auto& row : table.rows) text += line(row);
  for (const std::string& note : table.notes) text += "\n" + note + "\n";
  return text;
}

std::vector<Table> summary(const std::vector<Json>& records) {
  std::vector<Table> result;
  for (const TaskRecords& task : by_task(records)) result.push_back(table_of(task));
  return result;
}

}  // namespace swy::report
