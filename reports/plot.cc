#include "reports/plot.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "core/base/xml.h"

namespace swy::report {
namespace {

// A hundredth of a pixel is enough, and short.
std::string px(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", v);
  std::string s = text;
  s.erase(s.find_last_not_of('0') + 1);
  if (s.back() == '.') s.pop_back();
  return s == "-0" ? "0" : s;
}

std::string points(const std::vector<Point>& all) {
  std::string text;
  for (const Point& p : all) text += (text.empty() ? "" : " ") + px(p.x) + "," + px(p.y);
  return text;
}

// The largest of 1, 2, 5 times a power of ten that divides `span` into no more than `most` parts.
double nice_step(double span, int most) {
  const double least = span / most, decade = std::pow(10, std::floor(std::log10(least)));
  for (const double m : {1.0, 2.0, 5.0})
    if (m * decade >= least * (1 - 1e-9)) return m * decade;
  return 10 * decade;
}

}  // namespace

Look look(int index) {
  static constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#000000",
                                             "#cc79a7", "#e69f00", "#56b4e9"};
  static constexpr const char* kDashes[] = {"", "7 3", "2 2", "9 3 2 3"};
  return {kColours[index % 7], kDashes[index % 4], index % 8};
}

Svg::Svg(double width, double height) : width_(width), height_(height) {}

void Svg::begin_group(const std::string& css_class, const std::string& name, Point shift) {
  body_ += "<g class=\"" + css_class + "\"";
  if (!name.empty()) body_ += " data-name=\"" + xml_escaped(name) + "\"";
  if (shift.x != 0 || shift.y != 0) body_ += " transform=\"translate(" + px(shift.x) + " " + px(shift.y) + ")\"";
  body_ += ">\n";
}

void Svg::begin_clipped_group(const std::string& css_class, const std::string& name, Point from, Point to) {
  const std::string id = "clip" + std::to_string(++clips_);
  body_ += "<clipPath id=\"" + id + "\"><rect x=\"" + px(from.x) + "\" y=\"" + px(from.y) + "\" width=\"" +
           px(to.x - from.x) + "\" height=\"" + px(to.y - from.y) + "\"/></clipPath>\n";
  body_ += "<g class=\"" + css_class + "\" data-name=\"" + xml_escaped(name) + "\" clip-path=\"url(#" + id + ")\">\n";
}

void Svg::end_group() { body_ += "</g>\n"; }

void Svg::line(const std::vector<Point>& all, const Pen& pen) {
  if (all.size() < 2) return;
  body_ += "<polyline points=\"" + points(all) + "\" fill=\"none\" stroke=\"" + pen.colour + "\" stroke-width=\"" +
           px(pen.width) + "\"";
  if (!pen.dash.empty()) body_ += " stroke-dasharray=\"" + pen.dash + "\"";
  body_ += "/>\n";
}

void Svg::area(const std::vector<Point>& all, const std::string& colour, double opacity) {
  if (all.size() < 3) return;
  body_ += "<polygon points=\"" + points(all) + "\" fill=\"" + colour + "\" fill-opacity=\"" + px(opacity) + "\"/>\n";
}

void Svg::rectangle(Point corner, double width, double height, const std::string& fill) {
  body_ += "<rect x=\"" + px(corner.x) + "\" y=\"" + px(corner.y) + "\" width=\"" + px(width) + "\" height=\"" +
           px(height) + "\" fill=\"" + fill + "\"/>\n";
}

void Svg::marker(int shape, Point c, const std::string& colour) {
  static const std::vector<std::vector<Point>> kOutlines = {
      {},                                          // a disc
      {{-3, -3}, {3, -3}, {3, 3}, {-3, 3}},        // square
      {{0, -4}, {3.8, 3}, {-3.8, 3}},              // triangle
      {{0, -4.4}, {4.4, 0}, {0, 4.4}, {-4.4, 0}},  // diamond
      {{0, 4}, {-3.8, -3}, {3.8, -3}},             // triangle on its head
      {{-1.2, -4},
       {1.2, -4},
       {1.2, -1.2},
       {4, -1.2},
       {4, 1.2},
       {1.2, 1.2},
       {1.2, 4},
       {-1.2, 4},
       {-1.2, 1.2},
       {-4, 1.2},
       {-4, -1.2},
       {-1.2, -1.2}},                   // cross
      {{-4, 0}, {3, -3.8}, {3, 3.8}},   // triangle to the left
      {{4, 0}, {-3, 3.8}, {-3, -3.8}},  // triangle to the right
  };
  std::vector<Point> outline = kOutlines[static_cast<size_t>(shape) % kOutlines.size()];
  if (outline.empty()) {
    body_ += "<circle cx=\"" + px(c.x) + "\" cy=\"" + px(c.y) + "\" r=\"3.2\" fill=\"" + colour + "\"/>\n";
    return;
  }
  for (Point& p : outline) p.x += c.x, p.y += c.y;
  area(outline, colour, 1);
}

void Svg::text(Point at, const std::string& text, Anchor anchor, const Font& font) {
  static constexpr const char* kAnchors[] = {"start", "middle", "end"};
  body_ += "<text x=\"" + px(at.x) + "\" y=\"" + px(at.y) + "\" font-size=\"" + px(font.size) + "\" fill=\"" +
           font.colour + "\" text-anchor=\"" + kAnchors[static_cast<int>(anchor)] + "\"";
  if (font.bold) body_ += " font-weight=\"bold\"";
  if (font.upwards) body_ += " transform=\"rotate(-90 " + px(at.x) + " " + px(at.y) + ")\"";
  body_ += ">" + xml_escaped(text) + "</text>\n";
}

void Svg::panel(const Panel& p, const Axis& x, const std::vector<Axis::Tick>& x_ticks, const Axis& y,
                const std::vector<Axis::Tick>& y_ticks, const std::string& y_title, bool x_labels) {
  for (const Axis::Tick& t : x_ticks) {
    line({{x.at(t.value), p.top}, {x.at(t.value), p.bottom}}, {kGrid, 1, ""});
    if (x_labels) text({x.at(t.value), p.bottom + 16}, t.text, Anchor::kMiddle, {11, kInk, false, false});
  }
  for (const Axis::Tick& t : y_ticks) {
    line({{p.left, y.at(t.value)}, {p.right, y.at(t.value)}}, {kGrid, 1, ""});
    text({p.left - 6, y.at(t.value) + 4}, t.text, Anchor::kEnd, {11, kInk, false, false});
  }
  line({{p.left, p.top}, {p.right, p.top}, {p.right, p.bottom}, {p.left, p.bottom}, {p.left, p.top}}, {kFrame, 1, ""});
  text({18, 0.5 * (p.top + p.bottom)}, y_title, Anchor::kMiddle, {12, kInk, false, true});
}

std::string Svg::str() const {
  const std::string w = px(width_), h = px(height_);
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + w +
         "\" height=\"" + h + "\" viewBox=\"0 0 " + w + " " + h + "\" font-family=\"sans-serif\">\n<rect width=\"" + w +
         "\" height=\"" + h + "\" fill=\"#ffffff\"/>\n" + body_ + "</svg>\n";
}

std::string si(double value) {
  static constexpr const char* kPrefixes[] = {"", " k", " M", " G", " T", " P", " E", " Z", " Y"};
  int prefix = 0;
  char text[32];
  for (;; value /= 1000, ++prefix) {
    std::snprintf(text, sizeof text, "%.3g", value);
    if (std::fabs(std::atof(text)) < 1000 || prefix == 8) break;
  }
  return text + std::string(kPrefixes[prefix]);
}

void Span::add(double v) {
  if (std::isfinite(v)) low = std::min(low, v), high = std::max(high, v);
}

void Span::widen(double share) {
  const double more = high > low ? share * (high - low) : std::max(1e-3, 0.05 * std::fabs(high));
  low -= more, high += more;
}

Axis::Axis(Scale scale, double low, double high, double from, double to)
    : scale_(scale), low_(low), high_(high), from_(from), to_(to) {}

double Axis::at(double value) const {
  const double share =
      scale_ == Scale::kLog ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
  return from_ + (to_ - from_) * share;
}

std::vector<Axis::Tick> Axis::ticks(int most) const {
  std::vector<Tick> all;
  const double slack = 1e-9 * (high_ - low_);
  if (scale_ == Scale::kLinear) {
    const double step = nice_step(high_ - low_, most);
    const bool large = std::max(std::fabs(low_), std::fabs(high_)) >= 1000;
    const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
    for (double i = std::ceil((low_ - slack) / step); i * step <= high_ + slack; ++i) {
      const double value = i == 0 ? 0 : i * step;  // no "-0"
      char text[32];
      std::snprintf(text, sizeof text, "%.*f", decimals, value);
      all.push_back({value, large ? si(value) : text});
    }
    return all;
  }
  const double first = std::floor(std::log10(low_)), last = std::ceil(std::log10(high_));
  const bool whole_decades = 3 * (last - first) > 2 * most;
  for (double decade = first; decade <= last; ++decade)
    for (const double m : {1.0, 2.0, 5.0}) {
      const double value = m * std::pow(10, decade);
      if (value < low_ - slack || value > high_ + slack || (whole_decades && m > 1)) continue;
      all.push_back({value, si(value)});
    }
  return all;
}

}  // namespace swy::report
