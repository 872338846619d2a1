#include "benchmarks/block_shape.h"

#include <algorithm>
#include <sstream>

#include "core/base/error.h"
#include "core/base/suggest.h"

namespace swy::bench {

std::vector<BlockShape> named_shapes() {
  return {{"small", 16, 64, 128, 4, 1},
          {"mini", 32, 128, 256, 8, 1},
          {"wide", 32, 192, 384, 8, 1},
          {"fine", 32, 128, 64, 32, 4}};
}

// SonicMoE (arXiv 2512.14080), figure 14. Tokens and widths are those of the figure; (n, E, K) of each width also stand
// in the problem shapes of its repository's tests/moe_test.py (Dao-AILab/sonic-moe, 41f3a4d). In a model n K and n E
// are the same for every granularity, so FLOPs and weights are.
std::vector<BlockShape> reference_grid() {
  constexpr struct {
    const char* model;
    int32_t tokens, width, finest, experts, k;  // of the finest granularity
  } kModels[] = {{"1.4B", 40960, 768, 256, 128, 8},
                 {"7B", 24576, 1536, 256, 128, 8},
                 {"30B", 32768, 4096, 256, 256, 16},
                 {"120B", 32768, 4096, 512, 256, 16}};
  std::vector<BlockShape> grid;
  for (const auto& m : kModels)
    for (const int32_t coarser : {1, 2, 4})
      grid.push_back({cat(m.model, "-n", m.finest * coarser), m.tokens / BlockShape::kImageTokens, m.width,
                      m.finest * coarser, m.experts / coarser, static_cast<double>(m.k) / coarser});
  return grid;
}

namespace {

BlockShape parse_shape(const std::string& text) {
  std::vector<std::string> names{"grid"};
  for (const auto& list : {named_shapes(), reference_grid()})
    for (const BlockShape& s : list) {
      if (s.name == text) return s;
      names.push_back(s.name);
    }
  if (text.find('=') == std::string::npos)
    usage_error("no shape '", text, "'", suggestion(text, names),
                "; or give keys: images=32,width=128,hidden=256,experts=8,factor=1");
  BlockShape shape;
  shape.name = text;
  std::replace(shape.name.begin(), shape.name.end(), ',', ';');
  std::istringstream in(text);
  for (std::string pair; std::getline(in, pair, ',');) {
    const size_t equals = pair.find('=');
    const std::string key = pair.substr(0, equals);
    std::istringstream number(equals == std::string::npos ? "" : pair.substr(equals + 1));
    double value = 0;
    number >> value;
    if (!number || !number.eof() || value <= 0 || value > 65536)
      usage_error("shape '", text, "': '", pair, "' needs a positive number");
    if (key == "factor") {
      shape.factor = value;
      continue;
    }
    int32_t* field = key == "images"    ? &shape.images
                     : key == "width"   ? &shape.width
                     : key == "hidden"  ? &shape.hidden
                     : key == "experts" ? &shape.experts
                                        : nullptr;
    if (!field)
      usage_error("shape '", text, "': unknown key '", key, "'; keys are images, width, hidden, experts, factor");
    *field = static_cast<int32_t>(value);
  }
  return shape;
}

}  // namespace

std::vector<BlockShape> parse_shapes(const std::string& text) {
  if (text == "grid") return reference_grid();
  return {parse_shape(text)};
}

double block_flops(const BlockShape& s, bool backward) {
  return (backward ? 12.0 : 6.0) * static_cast<double>(s.tokens()) * s.hidden * s.width * s.factor;
}

}  // namespace swy::bench
