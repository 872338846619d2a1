#include "reports/robustness_table.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "reports/robustness_columns.h"

namespace swy::report {
namespace {

using Row = StressedRow;
using Column = StressColumn;

void append(std::string& list, const std::string& item, const char* between) {
  list += (list.empty() ? "" : between) + item;
}

std::string without_sign(std::string format) {
  std::erase(format, '+');
  return format;
}
std::string with_sign(const std::string& format) { return "%+" + without_sign(format).substr(1); }

std::vector<double> over_seeds(const Column& column, size_t index, const Row& row) {
  std::vector<double> all;
  for (const auto& [seed, run] : row.runs) {
    const double value = column.values(run)[index];
    if (!std::isnan(value)) all.push_back(value);
  }
  return all;
}

size_t size_of(const Column& column, const Row& row) { return column.values(row.runs.begin()->second).size(); }

bool has_any(const Column& column, const Row& row) {
  for (size_t i = 0; i < size_of(column, row); ++i)
    if (!over_seeds(column, i, row).empty()) return true;
  return false;
}

void leave_out_empty(std::vector<Column>& columns, const std::vector<Row>& rows) {
  std::erase_if(columns, [&](const Column& c) {
    return std::none_of(rows.begin(), rows.end(), [&](const Row& row) { return has_any(c, row); });
  });
}

std::string cell(const Column& column, const Row& row) {
  if (!has_any(column, row)) return "-";
  std::string text;
  for (size_t i = 0; i < size_of(column, row); ++i) {
    const Interval interval = t_interval(over_seeds(column, i, row));
    if (i > 0) text += "/";
    if (std::isinf(interval.mean))
      text += "not finite";
    else
      text += column.interval ? with_interval(interval, column.format.c_str(), without_sign(column.format).c_str())
                              : number(interval.mean, column.format.c_str());
  }
  if (column.where) {
    std::set<std::string> places;
    for (const auto& [seed, run] : row.runs) places.insert(column.where(run));
    if (places.size() == 1 && !places.begin()->empty()) text += " " + *places.begin();
  }
  return text;
}

Table table_of(const std::string& title, const StressedTask& s, std::vector<Column> columns) {
  leave_out_empty(columns, s.rows);
  Table table{title, {"router", "seeds"}, {}, {}};
  for (const Column& c : columns) table.header.push_back(c.header);
  for (const Row& row : s.rows) {
    table.rows.push_back({row.router->label + row.router->causal_mark(), row.seeds_text()});
    for (const Column& c : columns) table.rows.back().push_back(cell(c, row));
  }
  for (const Column& c : columns)
    if (!c.note.empty()) table.notes.push_back(c.note);
  return table;
}

// Which of the routers to compare with: a plain softmax router if there is one.
const Row* baseline(const StressedTask& s) {
  for (const char* id : {"softmax_token_choice", "switch_top1", "random"}) {
    const Row* found = nullptr;
    for (const Row& row : s.rows)
      if (row.router->router == id && (!found || row.router->label == id)) found = &row;
    if (found) return found;
  }
  return &s.rows[0];
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

const char* word_of(Verdict verdict) {
  return verdict == Verdict::kBetter ? "better" : verdict == Verdict::kWorse ? "worse" : "not separable";
}

Table difference_table(const StressedTask& s) {
  const Row& base = *baseline(s);
  std::vector<Column> columns = compared_columns(s);
  leave_out_empty(columns, s.rows);
  Table table{s.task.title() + ": under stress, minus " + base.router->label, {"router"}, {}, {}};
  for (const Column& c : columns) table.header.push_back(c.header);
  std::vector<std::map<std::string, std::string>> routers(columns.size());  // by column: verdict -> labels
  for (const Row& row : s.rows) {
    if (&row == &base) continue;
    table.rows.push_back({row.router->label});
    for (size_t c = 0; c < columns.size(); ++c) {
      const std::optional<PairedDifference> d = difference(columns[c], row, base);
      const std::string& format = columns[c].format;
      table.rows.back().push_back(
          d ? with_interval(d->difference, with_sign(format).c_str(), without_sign(format).c_str()) : "-");
      if (d) append(routers[c][word_of(d->verdict)], row.router->label, ", ");
    }
  }
  table.notes.push_back(
      "difference paired by seed, mean ± half of its 95 % Student-t interval, below 0 is better; not separable: the "
      "interval holds 0, or there are fewer than two seeds in which both saw the same conditions; each stands for "
      "itself, without a correction for many comparisons");
  for (size_t c = 0; c < columns.size(); ++c) {
    std::string text;
    for (const char* word : {"better", "worse", "not separable"})
      if (routers[c].count(word)) append(text, word + (": " + routers[c][word]), "; ");
    if (!text.empty()) table.notes.push_back(columns[c].header + " - " + text);
  }
  return table;
}

bool has_frost(const StressedTask& s) {
  for (const Row& row : s.rows)
    for (const auto& [seed, run] : row.runs)
      for (const StressResult* r : run.stress.of("corruption"))
        if (r->name == "frost") return true;
  return false;
}

// Why conditions have no result, and who has none at all.
std::vector<std::string> missing(const StressedTask& s) {
  std::map<std::string, std::set<std::string>> routers;  // by condition and reason
  std::set<std::string> infinite;
  for (const Row& row : s.rows)
    for (const auto& [seed, run] : row.runs)
      for (const StressResult& r : run.stress.all) {
        if (!r.not_measured.empty())
          routers["not measured: " + r.group + " " + r.name + ", " + r.not_measured].insert(row.router->label);
        if (std::isinf(r.loss) || std::isinf(r.intact_loss)) infinite.insert(row.router->label);
      }
  if (!infinite.empty()) routers["not finite: the loss under some condition"] = infinite;
  for (const RouterRecords* router : s.task.ranked())
    if (std::none_of(s.rows.begin(), s.rows.end(), [&](const Row& row) { return row.router == router; }))
      routers["no results under stress"].insert(router->label + ": " + router->seeds_text());
  std::vector<std::string> notes;
  for (const auto& [what, labels] : routers) {
    std::string list;
    for (const std::string& label : labels) append(list, label, ", ");
    notes.push_back(what + " (" + list + ")");
  }
  return notes;
}

}  // namespace

std::vector<Table> robustness_tables(const std::vector<Json>& records) {
  std::vector<Table> tables;
  const std::vector<TaskRecords> tasks = by_task(records);
  for (const TaskRecords& task : tasks) {
    const StressedTask s = stressed(task);
    if (s.rows.empty()) continue;
    tables.push_back(table_of(task.title() + ": under stress", s, data_columns(s)));
    std::vector<std::string>& notes = tables.back().notes;
    if (has_frost(s))
      notes.push_back(
          "frost: made on the fly it is a procedural texture, not the photographs of the published arrays; compare it "
          "between routers, not with published scores");
    notes.push_back("mean ± half of the 95 % Student-t interval over seeds");
    for (std::string& note : missing(s)) notes.push_back(std::move(note));
    tables.push_back(table_of(task.title() + ": routing under stress", s, routing_columns(s)));
    if (s.rows.size() > 1) tables.push_back(difference_table(s));
  }
  return tables;
}

}  // namespace swy::report
