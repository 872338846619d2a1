#include "reports/equal_compute.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "reports/plot.h"
#include "reports/record.h"
#include "reports/stats.h"
#include "reports/table.h"

namespace swy::report {
namespace {

constexpr double kWidth = 1320, kLeft = 72, kRight = 640;            // curves between left and right
constexpr double kTop = 52, kRow = 19, kCostHeight = 80, kGap = 16;  // of one task's figure
constexpr double kSample = 664, kLabel = 706, kValue = 1030, kBar = 1048, kBarWidth = 142, kCost = 1240, kInfer = 1306;
constexpr size_t kMostBands = 10;  // more would hide one another; the intervals stand in the legend too

struct Share {
  const char *part, *colour;
};
constexpr Share kShares[] = {{"model", "#d0d0d0"}, {"experts", "#7fa8cc"}, {"router", "#333333"}};  // light to dark

double number_at(const Json& point, const std::string& key) {
  const auto found = point.find(key);
  return found != point.end() && found->is_number() ? found->get<double>() : std::nan("");
}

// Units of one training step; NaN when the record does not say.
double step_units(const Json& record, const std::string& unit) {
  const Json& budget = record.at("budget");
  return number_at(budget, unit + "s") / number_at(budget, "steps");
}

struct Drawn {
  const RouterRecords* router;
  ComputeCurve curve;
  Look look;
};

class Figure {
 public:
  Figure(Svg& svg, const TaskRecords& task) : svg_(svg), task_(task) {
    int index = 0;  // looks by label, so that a router keeps its look whatever its rank
    std::map<std::string, int> looks;
    for (const auto& [label, router] : task.routers) looks[label] = index++;
    for (const RouterRecords* r : task.ranked()) drawn_.push_back({r, compute_curve(*r, task), look(looks[r->label])});
    bottom_ = kTop + std::max(430.0, kRow * static_cast<double>(drawn_.size() + 1)) - 30;
  }
  double height() const { return bottom_ + 88; }

  void draw() {
    svg_.text({kLeft, 28}, task_.title() + ": " + task_.headline.word + " at equal counted compute",
              Svg::Anchor::kStart, {15, kInk, true, false});
    const bool any = std::any_of(drawn_.begin(), drawn_.end(), [](const Drawn& d) { return !d.curve.moments.empty(); });
    if (any)
      curves();
    else
      svg_.text({0.5 * (kLeft + kRight), 0.5 * (kTop + bottom_)},
                "no learning curve: no cell ended well with a point of " + task_.headline.word, Svg::Anchor::kMiddle,
                {13, kInk, false, false});
    rows();
    notes();
  }

 private:
  void curves();
  void rows();
  void notes();
  bool bands() const { return drawn_.size() <= kMostBands; }

  Svg& svg_;
  const TaskRecords& task_;
  std::vector<Drawn> drawn_;
  double bottom_;  // of the lower panel
};

void Figure::curves() {
  Span flops, value, cost;
  cost.add(0);
  for (const Drawn& d : drawn_)
    for (const auto& m : d.curve.moments) flops.add(m.flops), value.add(m.value), cost.add(m.cost / 1e6);
  value.widen(0.1);
  const bool log = flops.low > 0 && flops.high >= 10 * flops.low;
  if (log)
    flops.low /= 1.15, flops.high *= 1.08;
  else
    flops.low = 0, flops.high = flops.high > 0 ? 1.03 * flops.high : 1;
  cost.high = cost.high > 0 ? 1.12 * cost.high : 1;

  const double cost_top = bottom_ - kCostHeight, main_bottom = cost_top - kGap;
  const Axis x(log ? Axis::Scale::kLog : Axis::Scale::kLinear, flops.low, flops.high, kLeft, kRight);
  const Axis y(Axis::Scale::kLinear, value.low, value.high, main_bottom, kTop);
  const Axis c(Axis::Scale::kLinear, cost.low, cost.high, bottom_, cost_top);
  const Panel main{kLeft, kRight, kTop, main_bottom}, lower{kLeft, kRight, cost_top, bottom_};
  svg_.panel(main, x, x.ticks(7), y, y.ticks(8), task_.headline.column, false);
  svg_.panel(lower, x, x.ticks(7), c, c.ticks(3), "MFLOPs/" + task_.unit, true);
  svg_.text({0.5 * (kLeft + kRight), bottom_ + 34}, "training FLOPs spent (model + experts + router)",
            Svg::Anchor::kMiddle, {12, kInk, false, false});

  for (auto d = drawn_.rbegin(); d != drawn_.rend(); ++d) {  // the best on top
    const auto& moments = d->curve.moments;
    if (moments.empty()) continue;
    std::vector<Point> line, above, below, steps;
    double since = flops.low;
    for (const auto& m : moments) {
      line.push_back({x.at(m.flops), y.at(m.value)});
      if (std::isfinite(m.half)) {
        above.push_back({x.at(m.flops), y.at(m.value + m.half)});
        below.push_back({x.at(m.flops), y.at(m.value - m.half)});
      }
      if (!std::isfinite(m.cost)) continue;
      steps.push_back({x.at(since), c.at(m.cost / 1e6)}), steps.push_back({x.at(m.flops), c.at(m.cost / 1e6)});
      since = m.flops;
    }
    svg_.begin_clipped_group("curve", d->router->label, {kLeft, kTop}, {kRight, main_bottom});
    if (bands()) {
      std::vector<Point> band = above;
      band.insert(band.end(), below.rbegin(), below.rend());
      svg_.area(band, d->look.colour, 0.1);
    }
    svg_.line(line, {d->look.colour, 1.8, d->look.dash});
    for (const Point& p : line) svg_.marker(d->look.marker, p, d->look.colour);
    svg_.end_group();
    svg_.begin_clipped_group("cost", d->router->label, {kLeft, cost_top}, {kRight, bottom_});
    svg_.line(steps, {d->look.colour, 1.6, d->look.dash});
    svg_.end_group();
  }
}

// The legend: look, label, final value, shares of training FLOPs, cost in training and in evaluation.
void Figure::rows() {
  const Svg::Font head{11, kInk, true, false}, plain{12, kInk, false, false}, small{10, kInk, false, false};
  using Anchor = Svg::Anchor;
  svg_.text({kLabel, kTop + 4}, "router", Anchor::kStart, head);
  svg_.text({kValue, kTop + 4}, task_.headline.column, Anchor::kEnd, head);
  svg_.text({kCost, kTop + 4}, "train", Anchor::kEnd, head);
  svg_.text({kInfer, kTop + 4}, "inference", Anchor::kEnd, head);
  svg_.text({kInfer, kTop - 9}, "MFLOPs/" + task_.unit, Anchor::kEnd, head);
  svg_.text({kBar, kTop - 9}, "training FLOPs:", Anchor::kStart, head);
  double at = kBar;
  for (const Share& s : kShares) {
    svg_.rectangle({at, kTop - 4}, 8, 8, s.colour);
    svg_.text({at + 10, kTop + 4}, s.part, Anchor::kStart, small);
    at += 56;
  }
  double y = kTop + kRow;
  for (const Drawn& d : drawn_) {
    svg_.begin_group("row", d.router->label);
    svg_.line({{kSample, y}, {kSample + 34, y}}, {d.look.colour, 1.8, d.look.dash});
    svg_.marker(d.look.marker, {kSample + 17, y}, d.look.colour);
    std::string label = d.router->label + d.router->causal_mark();
    for (const auto& [state, n] : d.router->other) label += " (" + std::to_string(n) + " " + state + ")";
    svg_.text({kLabel, y + 4}, label, Anchor::kStart, plain);
    std::vector<double> values = d.router->values(task_.headline.metric);
    for (double& v : values) v *= task_.headline.scale;
    const std::string value = with_interval(t_interval(values), task_.headline.format, task_.headline.format);
    svg_.text({kValue, y + 4}, value, Anchor::kEnd, plain);
    double all = 0, from = kBar;
    for (const Share& s : kShares) all += d.router->flops(s.part);
    for (const Share& s : kShares) {
      const double width = all > 0 ? kBarWidth * d.router->flops(s.part) / all : 0;
      if (width > 0) svg_.rectangle({from, y - 6}, width, 12, s.colour);
      if (s.part == std::string("experts") && width > 26)
        svg_.text({from + 0.5 * width, y + 4}, number(100 * width / kBarWidth, "%.0f %%"), Anchor::kMiddle, small);
      from += width;
    }
    svg_.text({kCost, y + 4}, number(d.router->average("train_flops_per_" + task_.unit) / 1e6, "%.3g"), Anchor::kEnd,
              plain);
    svg_.text({kInfer, y + 4}, number(d.router->average("forward_flops_per_" + task_.unit) / 1e6, "%.3g"), Anchor::kEnd,
              plain);
    svg_.end_group();
    y += kRow;
  }
}

void Figure::notes() {
  size_t seeds = 0;
  bool subset = false;
  std::set<std::string> marks;
  for (const Drawn& d : drawn_) {
    seeds = std::max(seeds, d.router->ok.size());
    marks.insert(d.router->causal_mark());
    for (const auto& [seed, record] : d.router->ok) {
      const Json& curve = record->at("curve");
      const std::string key = "test_" + task_.unit + "s";
      subset |= curve.size() > 1 && number_at(curve.front(), key) < number_at(curve.back(), key);
    }
  }
  std::string text = "One seed: no interval.";
  if (seeds > 1)
    text = "Mean over up to " + std::to_string(seeds) + " seeds; ± " + (bands() ? "and bands are" : "is") +
           (bands() ? " 95 % Student-t intervals." : " a 95 % Student-t interval.");
  if (subset) text += " Points before the last are of the first part of the evaluation data.";
  std::string later;
  if (marks.count(kSeesLater)) later += std::string(" ") + kSeesLater + " sees later tokens in evaluation too.";
  if (marks.count(kTrainedOnLater)) later += std::string(" ") + kTrainedOnLater + " sees later tokens in training.";
  if (marks.count(kNoClaim)) later += std::string(" ") + kNoClaim + " makes no claim to be causal.";
  const Svg::Font font{11, kInk, false, false};
  svg_.text({kLeft, bottom_ + 56}, text, Svg::Anchor::kStart, font);
  svg_.text({kLeft, bottom_ + 71},
            "Lower panel: counted training FLOPs of one " + task_.unit + " since the point before." + later,
            Svg::Anchor::kStart, font);
}

}  // namespace

ComputeCurve compute_curve(const RouterRecords& router, const TaskRecords& task) {
  struct One {
    std::vector<ComputeCurve::Moment> points;
  };
  std::vector<One> seeds;
  for (const auto& [seed, record] : router.ok) {
    One one;
    double flops = 0, step = 0;
    const double units = step_units(*record, task.unit);
    for (const Json& p : record->at("curve")) {
      const double value = number_at(p, task.headline.metric) * task.headline.scale;
      if (!std::isfinite(value)) continue;
      const double now = p.at("flops"), at = p.at("step");
      one.points.push_back({now, value, 0, (now - flops) / ((at - step) * units)});
      flops = now, step = at;
    }
    if (!one.points.empty()) seeds.push_back(std::move(one));
  }
  ComputeCurve curve;
  if (seeds.empty()) return curve;
  size_t n = seeds[0].points.size();
  for (const One& s : seeds) n = std::min(n, s.points.size());
  for (size_t i = 0; i < n; ++i) {
    std::vector<double> flops, value, cost;
    for (const One& s : seeds) {
      const auto& p = i + 1 == n ? s.points.back() : s.points[i];
      flops.push_back(p.flops), value.push_back(p.value), cost.push_back(p.cost);
    }
    const Interval interval = t_interval(value);
    curve.moments.push_back({mean(flops), interval.mean, interval.half, mean(cost)});
  }
  return curve;
}

std::string equal_compute_svg(const std::vector<Json>& records) {
  const std::vector<TaskRecords> tasks = by_task(records);
  Svg measure(0, 0);
  double height = 0;
  for (const TaskRecords& t : tasks) height += Figure(measure, t).height();
  Svg svg(kWidth, height);
  double y = 0;
  for (const TaskRecords& t : tasks) {
    Figure figure(svg, t);
    svg.begin_group("task", t.title(), {0, y});
    figure.draw();
    svg.end_group();
    y += figure.height();
  }
  return svg.str();
}

}  // namespace swy::report
