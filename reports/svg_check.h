// What the tests of this folder ask of an SVG document: is it well-formed, and where is what.
#pragma once
#include <cmath>
#include <regex>
#include <string>
#include <vector>

#include "reports/plot.h"

namespace swy::report {

// What keeps `text` from being a well-formed XML document of elements, attributes and text; empty: nothing.
inline std::string xml_error(std::string text) {
  if (text.rfind("<?xml", 0) == 0) text.erase(0, text.find("?>") + 2);
  static const std::regex tag(R"(<(/?)([A-Za-z][\w-]*)((?:\s+[A-Za-z][\w-]*="[^"<]*")*)\s*(/?)>)");
  static const std::regex plain(R"((?:[^<>&]|&(?:amp|lt|gt|quot|#[0-9]+);)*)");
  std::vector<std::string> open;
  int roots = 0;
  auto at = text.cbegin();
  for (std::sregex_iterator i(text.begin(), text.end(), tag), end; i != end; ++i) {
    const auto& m = *i;
    const std::string between(at, text.cbegin() + m.position());
    if (!std::regex_match(between, plain)) return "text that is not escaped: " + between;
    at = text.cbegin() + m.position() + m.length();
    if (m[1].length() > 0) {
      if (open.empty() || open.back() != m[2].str()) return "</" + m[2].str() + "> without its start";
      open.pop_back();
      continue;
    }
    roots += open.empty();
    if (m[4].length() == 0) open.push_back(m[2]);
  }
  const std::string rest(at, text.cend());
  if (!std::regex_match(rest, plain)) return "text that is not escaped: " + rest;
  if (!open.empty()) return "<" + open.back() + "> is not ended";
  return roots == 1 ? "" : "not one root";
}

// The inside of <g class="css_class" data-name="name">, which holds no other group; empty: there is none.
inline std::string group(const std::string& svg, const std::string& css_class, const std::string& name) {
  const size_t at = svg.find("<g class=\"" + css_class + "\" data-name=\"" + name + "\"");
  return at == std::string::npos ? "" : svg.substr(at, svg.find("</g>", at) - at);
}

// Of the `index`-th polyline.
inline std::vector<Point> points_of(const std::string& svg, size_t index) {
  size_t at = 0;
  for (size_t i = 0; i <= index; ++i) {
    at = svg.find("<polyline points=\"", at);
    if (at == std::string::npos) return {};
    at += 18;
  }
  std::vector<Point> all;
  static const std::regex pair(R"((-?[\d.]+),(-?[\d.]+))");
  const std::string list = svg.substr(at, svg.find('"', at) - at);
  for (std::sregex_iterator i(list.begin(), list.end(), pair), end; i != end; ++i)
    all.push_back({std::stod((*i)[1]), std::stod((*i)[2])});
  return all;
}

// Where the first text that reads exactly so stands; NaN when none does.
inline Point place_of(const std::string& svg, const std::string& text) {
  const size_t end = svg.find(">" + text + "</text>"), at = svg.rfind("<text", end);
  std::smatch m;
  static const std::regex place("x=\"([-0-9.]+)\" y=\"([-0-9.]+)\"");
  if (end == std::string::npos) return {NAN, NAN};
  const std::string tag = svg.substr(at, end - at);
  return std::regex_search(tag, m, place) ? Point{std::stod(m[1]), std::stod(m[2])} : Point{NAN, NAN};
}

}  // namespace swy::report
