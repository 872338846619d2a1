#include "core/conform/draw.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <sstream>

#include "core/base/error.h"

namespace swy::conform {
namespace {

std::string number_text(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

bool chance(Random& random, double probability) { return random.uniform() < probability; }

// Evenly in the logarithm. REQUIRES: 0 < low <= high.
double log_uniform(double low, double high, Random& random) {
  return std::clamp(low * std::pow(high / low, static_cast<double>(random.uniform())), low, high);
}
int32_t log_uniform_int(int32_t low, int32_t high, Random& random) {
  return std::clamp(static_cast<int32_t>(std::floor(log_uniform(low, high + 1.0, random))), low, high);
}

// Ranges that begin at 0 have no logarithm there: the draw begins this far below the top.
constexpr double kDecades = 1e-6;

double draw_number(const swy_option& o, Random& random) {
  const double preset = o.type == SWY_OPT_INT ? static_cast<double>(o.preset.i) : o.preset.f;
  const float end = random.uniform();
  if (end < 0.1f) return o.low;
  if (end < 0.2f) return o.high;
  if (end < 0.4f) return preset;
  const double smallest = o.low > 0 ? o.low : o.type == SWY_OPT_INT ? 1 : o.high * kDecades;
  if (o.low >= 0 && o.high > 100 * smallest) return log_uniform(smallest, o.high, random);
  return o.low + (o.high - o.low) * static_cast<double>(random.uniform());
}

std::string draw_option(const swy_option& o, Random& random) {
  switch (o.type) {
    case SWY_OPT_INT:
      return std::to_string(std::llround(std::clamp(std::floor(draw_number(o, random)), o.low, o.high)));
    case SWY_OPT_FLOAT: return number_text(std::clamp(draw_number(o, random), o.low, o.high));
    case SWY_OPT_BOOL: return chance(random, 0.5) ? "true" : "false";
    default: {
      std::vector<std::string> choices;
      std::istringstream in(o.choices);
      for (std::string choice; std::getline(in, choice, '|');) choices.push_back(choice);
      return choices[random.below(static_cast<uint32_t>(choices.size()))];
    }
  }
}

std::vector<uint8_t> draw_mask(const DrawnShape& shape, Random& random) {
  if (chance(random, 0.4)) return {};
  std::vector<uint8_t> mask;
  const bool scattered = chance(random, 0.3);
  for (const int32_t n : shape.sequence_tokens) {
    // A whole sequence of padding is what fills up the last batch of a data set.
    const auto real = chance(random, 0.1) ? 0 : static_cast<int32_t>(1 + random.below(static_cast<uint32_t>(n)));
    for (int32_t t = 0; t < n; ++t) mask.push_back(scattered ? chance(random, 0.7) : t < real);
  }
  return mask;
}

}  // namespace

OptionText draw_options(const swy_router& router, Random& random) {
  OptionText text;
  for (uint32_t i = 0; i < router.n_options; ++i) text[router.options[i].name] = draw_option(router.options[i], random);
  return text;
}

std::string describe(const OptionText& options) {
  std::string text;
  for (const auto& [name, value] : options) text += cat(text.empty() ? "" : " ", name, "=", value);
  return text.empty() ? "no options" : text;
}

int32_t DrawnShape::tokens() const { return std::accumulate(sequence_tokens.begin(), sequence_tokens.end(), 0); }

std::vector<int32_t> DrawnShape::group_tokens() const {
  std::vector<int32_t> sums;
  auto next = sequence_tokens.begin();
  for (const int32_t n : group_sequences) {
    sums.push_back(std::accumulate(next, next + n, 0));
    next += n;
  }
  return sums;
}

DrawnShape draw_shape(Random& random, const ShapeLimits& limits) {
  DrawnShape s;
  s.width = log_uniform_int(1, limits.width, random);
  s.experts = log_uniform_int(1, limits.experts, random);
  const int32_t groups = log_uniform_int(1, limits.groups, random);
  for (int32_t g = 0; g < groups; ++g) {
    s.group_sequences.push_back(log_uniform_int(1, limits.group_sequences, random));
    for (int32_t b = 0; b < s.group_sequences.back(); ++b)
      s.sequence_tokens.push_back(log_uniform_int(1, limits.sequence_tokens, random));
  }
  const std::vector<int32_t> tokens = s.group_tokens();
  const int32_t full = *std::max_element(tokens.begin(), tokens.end());
  // From a quarter of an even share up to four times as much; with few experts that is more than there are tokens.
  const double share = log_uniform(0.25, 4, random) * full / s.experts;
  s.capacity = std::max(1, static_cast<int32_t>(std::lround(share)));
  for (const int32_t n : tokens)
    s.group_capacity.push_back(
        std::max(1, static_cast<int32_t>(std::lround(static_cast<double>(s.capacity) * n / full))));
  s.mask = draw_mask(s, random);
  s.tasks = log_uniform_int(1, 4, random);
  for (const int32_t n : s.sequence_tokens) {
    s.prompt_tokens.push_back(1 + static_cast<int32_t>(random.below(static_cast<uint32_t>(n))));
    s.sequence_task.push_back(static_cast<int32_t>(random.below(static_cast<uint32_t>(s.tasks))));
  }
  s.task_width = log_uniform_int(1, 16, random);
  s.instruction_width = log_uniform_int(1, 16, random);
  s.spare_tokens = chance(random, 0.5) ? 0 : log_uniform_int(1, 32, random);
  return s;
}

swy_site site_of(const DrawnShape& shape, int32_t kind) {
  const std::vector<int32_t> tokens = shape.group_tokens();
  swy_site site{};
  site.struct_size = sizeof site;
  site.n_sites = 1, site.kind = kind;
  site.d_model = shape.width, site.n_experts = shape.experts;
  site.capacity = site.max_capacity = shape.capacity;
  site.group_tokens = *std::max_element(tokens.begin(), tokens.end());
  site.max_tokens = shape.tokens() + shape.spare_tokens;
  site.max_sequences = shape.sequences();
  site.max_groups = shape.groups();
  site.max_tasks = shape.tasks;
  site.max_rows = std::max(shape.sequences(), shape.tasks);
  site.d_task = shape.task_width, site.d_instruction = shape.instruction_width;
  site.vocabulary = shape.vocabulary, site.n_clusters = 4;
  site.max_position = *std::max_element(shape.sequence_tokens.begin(), shape.sequence_tokens.end());
  return site;
}

std::string describe(const DrawnShape& shape) {
  std::string groups;
  size_t b = 0;
  for (const int32_t n : shape.group_sequences) {
    if (!groups.empty()) groups += "|";
    for (int32_t i = 0; i < n; ++i) groups += cat(i ? "+" : "", shape.sequence_tokens[b++]);
  }
  return cat("D=", shape.width, " E=", shape.experts, " C=", shape.capacity, " groups=[", groups,
             "] padding=", std::count(shape.mask.begin(), shape.mask.end(), 0), " tasks=", shape.tasks);
}

}  // namespace swy::conform
