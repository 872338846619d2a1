#include "reports/table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

#include "reports/record.h"
#include "reports/stats.h"

namespace swy::report {
namespace {

size_t width_of(const std::string& text) {  // code points: the only multi-byte character in use is one column wide
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string number(double value, const char* format) {
  if (!std::isfinite(value)) return "-";
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string with_interval(const Interval& i, const char* format) {
  const std::string text = number(i.mean, format);
  return std::isfinite(i.half) ? text + " ± " + number(i.half, "%.2f") : text;
}

// The records of one router label, ordered by seed.
struct Row {
  std::string label, router;
  std::map<int64_t, const Json*> ok;
  std::map<std::string, int> other;  // state -> cells

  std::vector<double> values(const std::string& name) const {
    std::vector<double> all;
    for (const auto& [seed, record] : ok) {
      const double v = metric(*record, name);
      if (std::isfinite(v)) all.push_back(v);
    }
    return all;
  }
  double average(const std::string& name) const { return mean(values(name)); }
  double flops(const std::string& part) const {
    double sum = 0;
    for (const auto& [seed, record] : ok) {
      const Json passes = record->at("budget").at("work").value(part, Json::object());
      for (const Json& work : passes) sum += work["flops"].get<double>();
    }
    return sum;
  }
};

std::string seeds_text(const Row& row) {
  std::string text = std::to_string(row.ok.size());
  for (const auto& [state, n] : row.other) text += ", " + std::to_string(n) + " " + state;
  return text;
}

std::string parts_text(const Row& row) {
  const double model = row.flops("model"), experts = row.flops("experts"), router = row.flops("router");
  const double all = model + experts + router;
  if (all <= 0) return "-";
  return number(100 * model / all, "%.0f") + "/" + number(100 * experts / all, "%.0f") + "/" +
         number(100 * router / all, "%.1f");
}

// test accuracy against the control `random`, paired by seed
std::string against(const Row& row, const Row* control) {
  if (!control || control == &row) return "";
  std::vector<double> a, b;
  for (const auto& [seed, record] : row.ok) {
    const auto other = control->ok.find(seed);
    if (other == control->ok.end()) continue;
    a.push_back(100 * metric(*record, "test_accuracy"));
    b.push_back(100 * metric(*other->second, "test_accuracy"));
  }
  if (a.empty()) return "-";
  const PairedDifference d = paired_difference(a, b, true);
  const char* word = d.verdict == Verdict::kBetter  ? " better"
                     : d.verdict == Verdict::kWorse ? " worse"
                                                    : " not separable";
  return with_interval(d.difference, "%+.2f") + word;
}

Table table_of(const std::string& title, const std::map<std::string, Row>& by_label) {
  std::vector<const Row*> rows;
  const Row* control = nullptr;
  for (const auto& [label, row] : by_label) {
    rows.push_back(&row);
    if (row.router == "random" && (!control || row.label == "random")) control = &row;
  }
  const auto rank = [](const Row* r) {
    const double a = r->average("test_accuracy");
    return std::isfinite(a) ? a : -1;
  };
  std::stable_sort(rows.begin(), rows.end(), [&](const Row* a, const Row* b) { return rank(a) > rank(b); });

  Table table{title,
              {"router", "seeds", "accuracy %", "minus random, %", "loss", "train FLOPs m/e/r %", "MFLOPs/image",
               "images/s", "MaxVio", "dropped %", "unrouted %", "of GEMM %"},
              {},
              {}};
  for (const Row* row : rows) {
    std::vector<double> accuracy = row->values("test_accuracy");
    for (double& a : accuracy) a *= 100;
    table.rows.push_back(
        {row->label, seeds_text(*row), with_interval(t_interval(accuracy), "%.2f"), against(*row, control),
         number(row->average("test_loss"), "%.4f"), parts_text(*row),
         number(row->average("train_flops_per_image") / 1e6, "%.1f"),
         number(row->average("train_images_per_second"), "%.0f"), number(row->average("max_violation"), "%.2f"),
         number(100 * row->average("dropped_share"), "%.1f"), number(100 * row->average("unrouted_share"), "%.1f"),
         number(100 * row->average("gemm_share"), "%.0f")});
  }
  table.notes.push_back(
      "accuracy: test set, mean ± half of the 95 % Student-t interval over seeds; FLOPs of training: "
      "model/experts/router, and per image");
  if (control)
    table.notes.push_back(
        "minus random: difference paired by seed with its 95 % interval; not separable = the interval holds 0");
  table.notes.push_back("of GEMM: rate of the training step as a share of a dense 1024^3 GEMM in the same process");
  return table;
}

}  // namespace

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
  std::map<std::string, std::map<std::string, Row>> tables;
  for (const Json& r : records) {
    Row& row = tables[r.at("suite").get<std::string>() + ", " + r.at("task").at("id").get<std::string>()]
                     [r.at("identity").at("label")];
    row.label = r["identity"]["label"];
    row.router = r["identity"]["router"];
    const std::string state = r.at("status").at("state");
    if (state == "ok") {
      row.ok[r.at("seed")] = &r;
    } else {
      ++row.other[state];
    }
  }
  std::vector<Table> result;
  for (const auto& [title, rows] : tables) result.push_back(table_of(title, rows));
  return result;
}

}  // namespace swy::report
