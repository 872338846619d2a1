#include "benchmarks/analysis/agreement.h"

#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "benchmarks/analysis/correlation.h"
#include "benchmarks/analysis/routing_information.h"
#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/base/philox.h"

namespace swy::bench {

// Rows are added one at a time. For each, a shortest augmenting path is grown over reduced costs
// cost(i, j) - row[i] - column[j] >= 0, which are 0 on the matching. Index 0 stands for "none"; rows and columns
// count from 1.
std::vector<int32_t> best_assignment(const std::vector<double>& score, int32_t n) {
  const auto size = static_cast<size_t>(n) + 1;
  const auto cost = [&](size_t i, size_t j) { return -score[(i - 1) * static_cast<size_t>(n) + j - 1]; };
  std::vector<double> row(size), column(size);
  std::vector<size_t> row_of(size), before(size);
  for (size_t i = 1; i < size; ++i) {
    row_of[0] = i;
    size_t at = 0;
    std::vector<double> distance(size, std::numeric_limits<double>::infinity());
    std::vector<bool> done(size);
    do {
      done[at] = true;
      const size_t r = row_of[at];
      size_t next = 0;
      double least = std::numeric_limits<double>::infinity();
      for (size_t j = 1; j < size; ++j) {
        if (done[j]) continue;
        const double reduced = cost(r, j) - row[r] - column[j];
        if (reduced < distance[j]) distance[j] = reduced, before[j] = at;
        if (distance[j] < least) least = distance[j], next = j;
      }
      for (size_t j = 0; j < size; ++j) {
        if (done[j]) {
          row[row_of[j]] += least, column[j] -= least;
        } else {
          distance[j] -= least;
        }
      }
      at = next;
    } while (row_of[at] != 0);
    for (; at != 0; at = before[at]) row_of[at] = row_of[before[at]];
  }
  std::vector<int32_t> result(static_cast<size_t>(n));
  for (size_t j = 1; j < size; ++j) result[row_of[j] - 1] = static_cast<int32_t>(j) - 1;
  return result;
}

namespace {

using Pairs = std::vector<std::pair<int32_t, int32_t>>;  // first experts of one token in a and in b

std::vector<double> co_routing(const Pairs& pairs, size_t experts) {
  std::vector<double> both(experts * experts);
  for (const auto& p : pairs) ++both[static_cast<size_t>(p.first) * experts + static_cast<size_t>(p.second)];
  return both;
}

double matched_share(const Pairs& pairs, const std::vector<int32_t>& match) {
  int64_t same = 0;
  for (const auto& p : pairs) same += match[static_cast<size_t>(p.first)] == p.second;
  return static_cast<double>(same) / static_cast<double>(pairs.size());
}

}  // namespace

Agreement agreement(const SiteRouting& a, const SiteRouting& b, uint64_t seed) {
  if (a.tokens() != b.tokens() || a.experts != b.experts)
    usage_error("agreement of ", a.name, " between two runs: ", a.tokens(), " and ", b.tokens(), " tokens, ", a.experts,
                " and ", b.experts, " experts; compare runs of one suite on the same fixed text");
  const auto experts = static_cast<size_t>(a.experts);
  Pairs pairs;
  for (int64_t t = 0; t < a.tokens(); ++t)
    if (a.first(t) >= 0 && b.first(t) >= 0) pairs.emplace_back(a.first(t), b.first(t));
  const double none = std::nan("");
  if (pairs.empty()) return {none, none, none, none, {}};

  Agreement result{};
  result.match = best_assignment(co_routing(pairs, experts), a.experts);
  result.share = matched_share(pairs, result.match);
  RoutingInformation info(a.experts, b.experts);
  std::vector<double> load_a(experts), load_b(experts);
  for (const auto& p : pairs) {
    info.add(p.first, p.second);
    ++load_a[static_cast<size_t>(p.first)];
  }
  for (size_t e = 0; e < experts; ++e)
    for (const auto& p : pairs) load_b[e] += p.second == result.match[e];
  result.information = info.nats();
  result.load_correlation = correlation(load_a, load_b);

  Random random(seed);
  for (size_t i = pairs.size(); i > 1; --i)
    std::swap(pairs[i - 1].second, pairs[random.below(static_cast<uint32_t>(i))].second);
  result.shuffled = matched_share(pairs, best_assignment(co_routing(pairs, experts), a.experts));
  return result;
}

namespace {

size_t digits_of(int32_t experts) {
  size_t n = 1;
  while ((int64_t{1} << 4 * n) < experts) ++n;
  return n;
}

}  // namespace

Json text_routing(const RoutingTrace& trace) {
  std::string labels;
  for (const LabelColumn& c : trace.labels) {
    if (c.name.rfind("predicted", 0) == 0) continue;  // it is of the run, not of the text
    labels += c.name + ":";
    for (const int32_t v : c.of) labels += cat(v, ",");
  }
  Json sites = Json::array();
  for (const SiteRouting& s : trace.sites) {
    const size_t digits = digits_of(s.experts);
    std::string first;
    for (int64_t t = 0; t < s.tokens(); ++t) {
      std::string number(digits, '-');
      for (int32_t e = s.first(t), d = static_cast<int32_t>(digits); e >= 0 && d-- > 0; e >>= 4)
        number[static_cast<size_t>(d)] = "0123456789abcdef"[e & 15];
      first += number;
    }
    sites.push_back({{"name", s.name}, {"experts", s.experts}, {"first", first}});
  }
  return {{"sha256", sha256_hex(labels.data(), labels.size())}, {"sites", sites}};
}

std::vector<SiteRouting> text_routing_from(const Json& j) {
  std::vector<SiteRouting> sites;
  for (const Json& from : j.at("sites")) {
    SiteRouting s;
    s.name = from.at("name"), s.experts = from.at("experts");
    const std::string first = from.at("first");
    const size_t digits = digits_of(s.experts);
    if (first.size() % digits) usage_error("routing of ", s.name, ": ", first.size(), " digits in numbers of ", digits);
    for (size_t i = 0; i < first.size(); i += digits) {
      const std::string number = first.substr(i, digits);
      if (number != std::string(digits, '-')) {
        if (number.find_first_not_of("0123456789abcdef") != std::string::npos ||
            std::stol(number, nullptr, 16) >= s.experts)
          usage_error("routing of ", s.name, ": '", number, "' is none of its ", s.experts, " experts");
        s.expert.push_back(static_cast<int32_t>(std::stol(number, nullptr, 16)));
        s.weight.push_back(1);
      }
      s.begin.push_back(static_cast<int64_t>(s.expert.size()));
    }
    sites.push_back(std::move(s));
  }
  return sites;
}

}  // namespace swy::bench
