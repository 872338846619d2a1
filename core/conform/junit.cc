// JUnit XML as the common readers take it: <testsuites>, <testsuite>, <testcase> with <failure>, <error>, <skipped> or
// <system-out>. There is no standard; the attributes are those that Jenkins' and GitLab's documentation name.
#include <cstdio>

#include "core/base/xml.h"
#include "core/conform/report.h"
#include "core/conform/rules.h"

namespace swy::conform {
namespace {

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", seconds);
  return text;
}

std::string counts(const std::vector<Result>& results) {
  Totals t = totals(results);
  return cat("tests=\"", t.all, "\" failures=\"", t.count[Status::kFail], "\" errors=\"",
             t.count[Status::kCrash] + t.count[Status::kTimeout], "\" skipped=\"", t.count[Status::kSkip], "\"");
}

std::string outcome(const Result& r) {
  const std::string first = r.message.substr(0, r.message.find('\n'));
  const auto rule = rules().find(r.rule);
  const std::string all =
      cat(r.rule, rule == rules().end() ? "" : " " + rule->second.title, "\n", r.message, "\nagain: ", r.repro);
  switch (r.status) {
    case Status::kPass: return "";
    case Status::kSkip: return cat("<skipped message=\"", xml_escaped(r.message), "\"/>");
    case Status::kWarn: return cat("<system-out>warning: ", xml_escaped(all), "</system-out>");
    case Status::kFail:
      return cat("<failure type=\"", r.rule, "\" message=\"", xml_escaped(first), "\">", xml_escaped(all),
                 "</failure>");
    default:
      return cat("<error type=\"", status_name(r.status), "\" message=\"", xml_escaped(first), "\">", xml_escaped(all),
                 "</error>");
  }
}

}  // namespace

std::string to_junit(const std::vector<Result>& results, double seconds) {
  std::string xml = cat("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"switchyard conform\" ",
                        counts(results), " time=\"", seconds_text(seconds), "\">\n");
  for (const auto& [id, own] : by_router(results)) {
    double time = 0;
    for (const Result& r : own) time += r.seconds;
    xml += cat("  <testsuite name=\"", xml_escaped(id), "\" ", counts(own), " time=\"", seconds_text(time), "\">\n");
    for (const Result& r : own)
      xml += cat("    <testcase classname=\"", xml_escaped(id), ".", r.mode, "\" name=\"", xml_escaped(r.name),
                 "\" time=\"", seconds_text(r.seconds), "\">", outcome(r), "</testcase>\n");
    xml += "  </testsuite>\n";
  }
  return xml + "</testsuites>\n";
}

}  // namespace swy::conform
