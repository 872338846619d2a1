#include "reports/severity.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "reports/plot.h"
#include "reports/stats.h"
#include "reports/stressed_task.h"
#include "reports/table.h"

namespace swy::report {
namespace {

constexpr double kWidth = 1190, kLeft = 72, kRight = 690, kTop = 52, kRow = 19;
constexpr double kSample = 714, kLabel = 756, kClean = 1030, kHardest = 1176;  // columns of the legend
constexpr double kMargin = 0.35;  // of the axis beside its ends, severities
constexpr double kDodge = 0.5;    // routers stand side by side around a severity, in all so wide
constexpr double kCap = 2.5;      // half of a whisker's end, pixels

// Of the seeds that have the severity.
struct Score {
  double mean, half;  // %; half: NaN with one seed
};

struct Drawn {
  const StressedRow* row;
  std::map<int, Score> scores;  // by severity
  Look look;
  double aside = 0;  // from a severity, in severities
};

std::map<int, Score> scores_of(const StressedRow& row) {
  std::map<int, std::vector<double>> seeds;
  for (const auto& [seed, run] : row.runs)
    for (const auto& [severity, value] : severity_curve(run.stress)) seeds[severity].push_back(100 * value);
  std::map<int, Score> scores;
  for (const auto& [severity, values] : seeds) {
    const Interval i = t_interval(values);
    scores[severity] = {i.mean, i.half};
  }
  return scores;
}

class Figure {
 public:
  Figure(Svg& svg, const StressedTask& task) : svg_(svg), s_(task) {
    std::map<std::string, int> looks;  // by label, as in the equal-compute figure
    int index = 0;
    for (const auto& [label, router] : s_.task.routers) looks[label] = index++;
    for (const StressedRow& row : s_.rows) {
      drawn_.push_back({&row, scores_of(row), look(looks[row.router->label])});
      if (!drawn_.back().scores.empty()) hardest_ = std::max(hardest_, drawn_.back().scores.rbegin()->first);
    }
    const double n = static_cast<double>(drawn_.size());
    for (size_t i = 0; i < drawn_.size(); ++i) drawn_[i].aside = kDodge * ((static_cast<double>(i) + 0.5) / n - 0.5);
    bottom_ = kTop + std::max(450.0, kRow * (n + 1));
  }
  double height() const { return bottom_ + 88; }

  void draw() {
    svg_.text({kLeft, 28}, s_.task.title() + ": " + word() + " against severity", Svg::Anchor::kStart,
              {15, kInk, true, false});
    if (hardest_ > 0)
      curves();
    else
      svg_.text({0.5 * (kLeft + kRight), 0.5 * (kTop + bottom_)},
                "no severity at which every " + kind() + " was measured; --robustness full measures all",
                Svg::Anchor::kMiddle, {13, kInk, false, false});
    rows();
    notes();
  }

 private:
  std::string word() const { return s_.text ? "growth of " + std::string(text_unit(s_.task).name) : "accuracy"; }
  std::string kind() const { return s_.text ? "noise" : "corruption"; }
  void curves();
  void curve(const Drawn&, const Axis& x, const Axis& y);
  void rows();
  void notes();

  Svg& svg_;
  const StressedTask& s_;
  std::vector<Drawn> drawn_;
  int hardest_ = 0;
  double bottom_;
};

void Figure::curves() {
  Span span;
  std::set<int> severities;
  for (const Drawn& d : drawn_)
    for (const auto& [severity, score] : d.scores) {
      severities.insert(severity);
      span.add(score.mean);
      if (std::isfinite(score.half)) span.add(score.mean - score.half), span.add(score.mean + score.half);
    }
  if (span.low > span.high) span.add(0);  // nothing finite
  span.widen(0.05);
  std::vector<Axis::Tick> ticks;
  for (const int severity : severities)
    ticks.push_back({1.0 * severity, severity == 0 ? "clean" : std::to_string(severity)});
  const Axis x(Axis::Scale::kLinear, -kMargin, hardest_ + kMargin, kLeft, kRight);
  const Axis y(Axis::Scale::kLinear, span.low, span.high, bottom_, kTop);
  svg_.panel({kLeft, kRight, kTop, bottom_}, x, ticks, y, y.ticks(8), word() + " %", true);
  svg_.text({0.5 * (kLeft + kRight), bottom_ + 34}, "severity", Svg::Anchor::kMiddle, {12, kInk, false, false});
  for (auto d = drawn_.rbegin(); d != drawn_.rend(); ++d) curve(*d, x, y);  // the best on top
}

void Figure::curve(const Drawn& d, const Axis& x, const Axis& y) {
  svg_.begin_clipped_group("severity", d.row->router->label, {kLeft, kTop}, {kRight, bottom_});
  std::vector<Point> line;
  const auto end_line = [&] {  // what is not finite is a gap, not a straight line across it
    svg_.line(line, {d.look.colour, 1.6, d.look.dash});
    for (const Point& p : line) svg_.marker(d.look.marker, p, d.look.colour);
    line.clear();
  };
  for (const auto& [severity, score] : d.scores) {
    if (!std::isfinite(score.mean)) {
      end_line();
      continue;
    }
    const double at = x.at(severity + d.aside);
    if (std::isfinite(score.half) && score.half > 0) {
      const double top = y.at(score.mean + score.half), bottom = y.at(score.mean - score.half);
      svg_.line({{at, top}, {at, bottom}}, {d.look.colour, 1, ""});
      for (const double end : {top, bottom}) svg_.line({{at - kCap, end}, {at + kCap, end}}, {d.look.colour, 1, ""});
    }
    line.push_back({at, y.at(score.mean)});
  }
  end_line();
  svg_.end_group();
}

// The legend: look, label, clean score and the one at the highest severity.
void Figure::rows() {
  using Anchor = Svg::Anchor;
  const Svg::Font head{11, kInk, true, false}, plain{12, kInk, false, false};
  const char* format = s_.text ? "%+.2f" : "%.2f";
  svg_.text({kLabel, kTop + 4}, "router", Anchor::kStart, head);
  svg_.text({kClean, kTop + 4}, s_.text ? "clean " + std::string(text_unit(s_.task).name) : "clean accuracy %",
            Anchor::kEnd, head);
  if (hardest_ > 0)
    svg_.text({kHardest, kTop + 4}, (s_.text ? "% at " : "at ") + std::to_string(hardest_), Anchor::kEnd, head);
  double y = kTop + kRow;
  for (const Drawn& d : drawn_) {
    svg_.begin_group("row", d.row->router->label);
    svg_.line({{kSample, y}, {kSample + 34, y}}, {d.look.colour, 1.6, d.look.dash});
    svg_.marker(d.look.marker, {kSample + 17, y}, d.look.colour);
    std::string label = d.row->router->label + d.row->router->causal_mark();
    if (d.row->runs.size() < d.row->router->ok.size() || !d.row->router->other.empty())
      label += " (" + d.row->seeds_text() + ")";
    svg_.text({kLabel, y + 4}, label, Anchor::kStart, plain);
    std::vector<double> clean;
    for (const auto& [seed, run] : d.row->runs)
      clean.push_back(s_.text ? run.stress.clean_cost() / text_unit(s_.task).nats
                              : 100 * (1 - run.stress.clean_cost()));
    svg_.text({kClean, y + 4}, number(mean(clean), s_.text ? "%.4f" : "%.2f"), Anchor::kEnd, plain);
    if (const auto at = d.scores.find(hardest_); hardest_ > 0 && at != d.scores.end())
      svg_.text({kHardest, y + 4},
                std::isfinite(at->second.mean) ? with_interval({at->second.mean, at->second.half}, format, "%.2f")
                                               : "not finite",
                Anchor::kEnd, plain);
    svg_.end_group();
    y += kRow;
  }
}

void Figure::notes() {
  size_t seeds = 0;
  for (const StressedRow& row : s_.rows) seeds = std::max(seeds, row.runs.size());
  std::string first = "Mean over the " + kind() + "s of what a model does at a severity" +
                      (s_.text ? " (the i-th rate of a noise), growth against clean" : "") + "; severities that some " +
                      kind() + " lacks are left out.";
  std::string second = seeds > 1
                           ? "Mean over up to " + std::to_string(seeds) +
                                 " seeds, whiskers and ± are 95 % Student-t intervals; routers stand side by side."
                           : "One seed: no interval.";
  if (s_.conditions_text().find(' ') != std::string::npos)
    second += " Not all saw the same: " + s_.conditions_text() + " conditions.";
  svg_.text({kLeft, bottom_ + 56}, first, Svg::Anchor::kStart, {11, kInk, false, false});
  svg_.text({kLeft, bottom_ + 71}, second, Svg::Anchor::kStart, {11, kInk, false, false});
}

}  // namespace

std::string severity_svg(const std::vector<Json>& records) {
  const std::vector<TaskRecords> tasks = by_task(records);
  std::vector<StressedTask> shown;
  for (const TaskRecords& task : tasks)
    if (StressedTask s = stressed(task); !s.rows.empty()) shown.push_back(std::move(s));
  if (shown.empty()) return "";
  Svg measure(0, 0);
  double height = 0;
  for (const StressedTask& s : shown) height += Figure(measure, s).height();
  Svg svg(kWidth, height);
  double y = 0;
  for (const StressedTask& s : shown) {
    Figure figure(svg, s);
    svg.begin_group("task", s.task.title(), {0, y});
    figure.draw();
    svg.end_group();
    y += figure.height();
  }
  return svg.str();
}

}  // namespace swy::report
