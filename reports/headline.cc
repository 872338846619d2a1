#include "reports/headline.h"

#include <cmath>
#include <cstdio>

#include "reports/record.h"

namespace swy::report {

Shown shown(const std::string& metric) {
  static const std::vector<Shown> known = {
      {"test_accuracy", "accuracy %", "accuracy", " %", 100, "%.2f"},
      {"test_loss", "loss", "loss", "", 1, "%.4f"},
      {"bits_per_byte", "bits/byte", "bits per byte", "", 1, "%.4f"},
      {"bits_per_character", "bits/char", "bits per character", "", 1, "%.4f"},
      {"word_perplexity", "perplexity", "word perplexity", "", 1, "%.2f"},
      {"token_loss", "nats/token", "nats per token", "", 1, "%.4f"},
      {"excess_loss", "excess nats", "excess nats per token", "", 1, "%.4f"},
      {"next_token_accuracy", "next token %", "next token", " %", 100, "%.2f"},
      {"routing_information", "information", "information", " nats", 1, "%.2f"},
  };
  for (const Shown& s : known) {
    if (s.metric == metric) return s;
  }
  return {metric, metric, metric, "", 1, "%.4f"};
}

Shown headline_of(const Json& record) { return shown(record.at("task").value("headline", "test_accuracy")); }

bool headline_is_higher_better(const Json& record) {
  const std::string name = headline_of(record).metric;
  for (const Json& m : record.at("metrics")) {
    if (m.at("name") == name && m.at("higher_is_better").is_boolean()) return m["higher_is_better"];
  }
  return true;
}

std::string unit_of(const Json& record) { return record.at("task").value("unit", "image"); }

std::vector<Shown> beside(const std::string& headline) {
  std::vector<Shown> list;
  const std::vector<std::string> names =
      headline == "test_accuracy"
          ? std::vector<std::string>{"test_loss"}
          : std::vector<std::string>{"token_loss", "excess_loss", "next_token_accuracy", "routing_information"};
  for (const std::string& name : names) {
    if (name != headline) list.push_back(shown(name));
  }
  return list;
}

std::string scores_text(const Json& record) {
  std::vector<Shown> parts = {headline_of(record)};
  const std::vector<Shown> others = beside(parts[0].metric);
  parts.insert(parts.end(), others.begin(), others.end());
  std::string text;
  for (const Shown& s : parts) {
    const double value = metric(record, s.metric);
    if (!std::isfinite(value)) continue;
    char number[64];
    std::snprintf(number, sizeof number, s.format, value * s.scale);
    text += (text.empty() ? "" : ", ") + s.word + " " + number + s.unit;
  }
  return text;
}

}  // namespace swy::report
