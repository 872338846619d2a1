// The little that is needed to draw a chart as SVG: a document that is written front to back, axes with readable ticks,
// and looks that stay apart in greyscale. Lengths in pixels, x to the right, y down. Text is escaped; a coordinate that
// is not finite is a mistake of the caller.
#pragma once
#include <cmath>
#include <string>
#include <vector>

namespace swy::report {

struct Point {
  double x, y;
};

// Look of the i-th of many lines: colour (distinct to the colour-blind: Okabe and Ito 2008), dash and marker all go
// round, at different periods, so that 56 lines look different, and neighbours without colour too.
struct Look {
  const char* colour;
  const char* dash;  // SVG stroke-dasharray; empty: solid
  int marker;
};
Look look(int index);

// "250 G", "1.5 M", "0.02": three digits and an SI prefix from 1000 on.
std::string si(double value);

// Maps values to a stretch of pixels, linearly or by their logarithm.
class Axis {
 public:
  enum class Scale { kLinear, kLog };
  // REQUIRES: low < high; for kLog, 0 < low.
  Axis(Scale, double low, double high, double from, double to);
  double at(double value) const;  // pixels; outside [low, high] too
  struct Tick {
    double value;
    std::string text;
  };
  // Inside [low, high]: multiples of 1, 2 or 5 times a power of ten, about `most` of them; on a logarithmic axis 1, 2
  // and 5 of every decade, or whole decades only when those are too many.
  std::vector<Tick> ticks(int most) const;
  double low() const { return low_; }
  double high() const { return high_; }

 private:
  Scale scale_;
  double low_, high_, from_, to_;
};

// The span of values on an axis.
struct Span {
  double low = INFINITY, high = -INFINITY;
  void add(double);          // finite ones
  void widen(double share);  // by that share at both ends, and so that it is not empty. REQUIRES: something was added
};

inline constexpr const char *kInk = "#222222", *kGrid = "#dddddd", *kFrame = "#888888";

// Where curves are drawn.
struct Panel {
  double left, right, top, bottom;
};

class Svg {
 public:
  enum class Anchor { kStart, kMiddle, kEnd };
  struct Pen {
    std::string colour = "#000000";
    double width = 1;
    std::string dash;
  };
  struct Font {
    double size = 12;
    std::string colour = "#000000";
    bool bold = false, upwards = false;  // upwards: turned by 90 degrees
  };

  Svg(double width, double height);
  // All up to end_group() is one group. `name` is escaped and becomes its data-name; what leaves the rectangle
  // [from, to] is not drawn when one is given.
  void begin_group(const std::string& css_class, const std::string& name = "", Point shift = {0, 0});
  void begin_clipped_group(const std::string& css_class, const std::string& name, Point from, Point to);
  void end_group();

  void line(const std::vector<Point>&, const Pen&);  // open, through all points; nothing below two
  void area(const std::vector<Point>&, const std::string& colour, double opacity);
  void rectangle(Point corner, double width, double height, const std::string& fill);
  void marker(int shape, Point centre, const std::string& colour);  // eight shapes, others go round
  void text(Point, const std::string&, Anchor, const Font&);
  // The frame of a panel and its grid: a line per tick, labels at the left and, if wanted, below.
  void panel(const Panel&, const Axis& x, const std::vector<Axis::Tick>& x_ticks, const Axis& y,
             const std::vector<Axis::Tick>& y_ticks, const std::string& y_title, bool x_labels);

  std::string str() const;  // REQUIRES: every group is ended

 private:
  double width_, height_;
  int clips_ = 0;
  std::string body_;
};

}  // namespace swy::report
