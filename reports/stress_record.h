// Records with results under stress, as tests of this folder make them by hand.
#pragma once
#include <string>
#include <vector>

#include "core/base/json.h"

namespace swy::report {

inline Json stress_cell(const std::string& group, const std::string& name, int severity, double value, double accuracy,
                        double loss = 1) {
  return {{"group", group}, {"name", name},         {"severity", severity}, {"value", value},
          {"scored", 100},  {"accuracy", accuracy}, {"loss", loss}};
}

// Of one corruption at severity 1, 2, ...
inline void add_corruption(std::vector<Json>& cells, const std::string& name, const std::vector<double>& errors) {
  for (size_t i = 0; i < errors.size(); ++i)
    cells.push_back(stress_cell("corruption", name, static_cast<int>(i) + 1, 0, 1 - errors[i]));
}

inline const std::vector<std::string>& main_corruptions() {
  static const std::vector<std::string> names = {
      "gaussian_noise",    "shot_noise", "impulse_noise",   "defocus_blur", "glass_blur", "motion_blur",
      "zoom_blur",         "snow",       "frost",           "fog",          "brightness", "contrast",
      "elastic_transform", "pixelate",   "jpeg_compression"};
  return names;
}

inline Json stress_record(const std::string& label, int seed, const std::vector<Json>& cells, bool text = false) {
  Json r = Json::parse(R"({
    "schema": "switchyard.record", "version": "1.2.0", "id": "x", "suite": "s", "threads": 1,
    "identity": {"options": {}, "plugin": null, "abi": {"major": 1, "minor": 0}},
    "task": {"id": "t", "dataset": "d", "sha256": null}, "status": {"state": "ok", "reason": null},
    "budget": {"asked_flops": 10, "spent_flops": 10, "steps": 3, "work": {}},
    "metrics": [], "curve": [], "sites": [], "timing": {"metrics": []}, "environment": {}, "created": "now",
    "command": ["switchyard"], "cell": {}
  })");
  r["identity"]["label"] = r["identity"]["router"] = label;
  r["seed"] = seed;
  if (text)
    r["task"].update({{"unit", "token"}, {"headline", "token_loss"}, {"text_unit", "byte"}, {"tokenizer", "byte"}});
  r["robustness"] = {{"level", "full"}, {"cells", cells}};
  return r;
}

}  // namespace swy::report
