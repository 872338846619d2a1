// `switchyard list` and `switchyard describe`: what there is.
#include <iostream>
#include <map>
#include <memory>

#include "benchmarks/causality.h"
#include "benchmarks/commands.h"
#include "benchmarks/metrics.h"
#include "benchmarks/suite.h"
#include "core/base/error.h"
#include "core/base/files.h"
#include "core/base/resources.h"
#include "core/plugin/loader.h"
#include "data/dataset.h"
#include "data/manifest.h"
#include "data/text.h"

namespace swy::bench {
namespace {

const std::vector<std::string> kLists = {"routers", "suites", "datasets", "metrics"};

Json list_of(const std::string& what) {
  Json rows = Json::array();
  if (what == "routers") {
    std::vector<std::string> broken;
    for (const FoundRouter& f : all_routers(&broken)) {
      rows.push_back({{"id", f.router->id},
                      {"name", f.router->name},
                      {"version", f.router->version},
                      {"causality", causality_text(causality_of(*f.router))},
                      {"plugin", f.plugin->path.string()}});
    }
    for (const std::string& line : broken) std::cerr << "switchyard: left out: " << line << "\n";
  } else if (what == "suites") {
    for (const std::string& name : suite_names()) {
      const Suite s = read_suite(name);
      rows.push_back({{"id", name},
                      {"title", s.title},
                      {"model", s.kind},
                      {"cells", s.tasks.size() * s.routers.size() * s.seeds.size()},
                      {"minutes", s.expected_minutes},
                      {"note", s.note}});
    }
  } else if (what == "datasets") {
    std::vector<std::string> ids = data::dataset_ids();
    ids.insert(ids.end(), data::text_ids().begin(), data::text_ids().end());
    for (const std::string& id : ids) {
      const data::Manifest m = data::read_manifest(id);
      const bool text = !m.tokenizer.empty();
      rows.push_back({{"id", id},
                      {"title", m.title},
                      {"modality", text ? "text" : "image"},
                      {"train", m.train},
                      {"test", m.test},
                      {"size_unit", !text                     ? "image"
                                    : m.format == "generated" ? "token"
                                                              : "byte"},
                      {"licence", m.licence},
                      {"homepage", m.homepage}});
    }
  } else {
    for (const MetricInfo& m : metric_table()) {
      const char* direction = !m.higher_is_better ? "-" : *m.higher_is_better ? "higher" : "lower";
      rows.push_back({{"id", m.name}, {"unit", m.unit}, {"better", direction}, {"doc", m.doc}});
    }
  }
  return rows;
}

std::string cell_text(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

void print_list(const std::string& what, const Json& rows, const std::vector<std::string>& columns) {
  std::cout << what << "\n";
  size_t width = 0;
  for (const Json& row : rows) width = std::max(width, row.at("id").get<std::string>().size());
  for (const Json& row : rows) {
    const std::string id = row.at("id");
    std::cout << "  " << id << std::string(width - id.size(), ' ');
    for (const std::string& c : columns) {
      const std::string text = cell_text(row.at(c));
      if (!text.empty()) std::cout << "  " << text << (c == "minutes" ? " min" : c == "cells" ? " cells" : "");
    }
    std::cout << "\n";
  }
  if (rows.empty()) std::cout << "  none found\n";
}

const char* access_text(int access) {
  constexpr const char* kNames[] = {"none", "expert data", "unlabelled target data", "few-shot target data",
                                    "full target data"};
  return access >= 0 && access < 5 ? kNames[access] : "unknown";
}

std::vector<std::string> capabilities(uint32_t caps) {
  constexpr std::pair<uint32_t, const char*> kNames[] = {{SWY_CAP_CPU, "cpu"},
                                                         {SWY_CAP_CUDA, "cuda"},
                                                         {SWY_CAP_BACKWARD, "backward"},
                                                         {SWY_CAP_CAUSAL, "causal"},
                                                         {SWY_CAP_BITWISE, "bitwise"},
                                                         {SWY_CAP_GRAPH_CAPTURE, "graph_capture"},
                                                         {SWY_CAP_NEEDS_FIT, "needs_fit"},
                                                         {SWY_CAP_BATCH_COUPLED, "batch_coupled"},
                                                         {SWY_CAP_STRAIGHT_THROUGH, "straight_through"}};
  std::vector<std::string> list;
  for (const auto& [bit, name] : kNames) {
    if (caps & bit) list.push_back(name);
  }
  return list;
}

// Bounds as a person writes them: "1 to 64", "a|b".
Json option_json(const swy_option& o) {
  constexpr const char* kTypes[] = {"int", "float", "bool", "choice"};
  Json j = {
      {"name", o.name}, {"doc", o.doc ? o.doc : ""}, {"type", o.type >= 0 && o.type < 4 ? kTypes[o.type] : "unknown"}};
  switch (o.type) {
    case SWY_OPT_INT: j["default"] = o.preset.i; break;
    case SWY_OPT_FLOAT: j["default"] = static_cast<double>(o.preset.f); break;
    case SWY_OPT_BOOL: j["default"] = o.preset.i != 0; break;
    default: j["default"] = o.preset.s ? o.preset.s : "";
  }
  if (o.type == SWY_OPT_INT || o.type == SWY_OPT_FLOAT) j["range"] = {o.low, o.high};
  if (o.choices) j["choices"] = o.choices;
  return j;
}

// README.md of the plugin's folder, from its first equation heading on: the part that says what is computed.
std::string equations(const std::string& id) {
  std::string text;
  try {
    text = read_text(resource("plugins/" + id + "/README.md"));
  } catch (const Error&) {
    return "";  // a plugin from elsewhere brings no README
  }
  const size_t heading = text.find("## Equations");
  if (heading == std::string::npos) return text;
  return text.substr(heading, text.find("\n## ", heading + 1) - heading);
}

Json description_of(const std::string& name) {
  const FoundRouter f = find_router(name);
  Json options = Json::array();
  for (uint32_t i = 0; i < f.router->n_options; ++i) options.push_back(option_json(f.router->options[i]));
  return {{"id", f.router->id},
          {"name", f.router->name},
          {"version", f.router->version},
          {"paper", f.router->paper},
          {"capabilities", capabilities(f.router->caps)},
          {"causality", causality_of(*f.router)},
          {"data_access", access_text(f.router->data_access)},
          {"options", options},
          {"plugin",
           {{"path", f.plugin->path.string()},
            {"sha256", f.plugin->sha256},
            {"build", f.plugin->plugin->build ? f.plugin->plugin->build : ""}}},
          {"abi", {{"major", f.plugin->plugin->abi_major}, {"minor", f.plugin->plugin->abi_minor}}},
          {"equations", equations(f.router->id)}};
}

void print_description(const Json& d) {
  const auto line = [&](const char* label, const std::string& text) { std::cout << "  " << label << text << "\n"; };
  std::string caps;
  for (const Json& c : d["capabilities"]) caps += (caps.empty() ? "" : ", ") + c.get<std::string>();
  std::cout << d["id"].get<std::string>() << " " << d["version"].get<std::string>() << ": "
            << d["name"].get<std::string>() << "\n";
  line("paper         ", d["paper"]);
  line("capabilities  ", caps);
  if (const std::string text = causality_text(d["causality"]); !text.empty()) line("causality     ", text);
  for (const char* phase : {"train", "score"}) {
    const Json reason = d["causality"].is_null() ? Json() : d["causality"][phase]["reason"];
    const std::string in = phase == std::string("train") ? "in training: " : "in evaluation: ";
    if (reason.is_string()) line("              ", in + reason.get<std::string>());
  }
  line("data access   ", d["data_access"]);
  line("plugin        ", d["plugin"]["path"]);
  line("sha256        ", d["plugin"]["sha256"]);
  line("abi           ", cat(d["abi"]["major"], ".", d["abi"]["minor"]));
  std::cout << "options\n";
  for (const Json& o : d["options"]) {
    std::string range = o["type"];
    if (o.contains("choices")) range = o["choices"];
    if (o.contains("range")) range += cat(" ", o["range"][0].get<double>(), " to ", o["range"][1].get<double>());
    std::cout << "  " << o["name"].get<std::string>() << " = " << cell_text(o["default"]) << "  (" << range << ")  "
              << o["doc"].get<std::string>() << "\n";
  }
  if (d["options"].empty()) std::cout << "  none\n";
  if (!d["equations"].get<std::string>().empty()) std::cout << "\n" << d["equations"].get<std::string>() << "\n";
}

}  // namespace

void add_list_command(CLI::App& app) {
  CLI::App* list = app.add_subcommand("list", "routers, suites, data sets and metrics there are");
  auto what = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  list->add_option("what", *what, "routers, suites, datasets or metrics; all without it")->check(CLI::IsMember(kLists));
  list->add_flag("--json", *json, "as JSON");
  list->footer(
      "Examples:\n  switchyard list\n  switchyard list routers --json\nPlugins are also looked for in the directories "
      "of $SWITCHYARD_PLUGIN_PATH.");
  list->callback([=] {
    static const std::map<std::string, std::vector<std::string>> columns = {
        {"routers", {"version", "name", "causality"}},
        {"suites", {"minutes", "cells", "title"}},
        {"datasets", {"modality", "title", "licence"}},
        {"metrics", {"unit", "better", "doc"}}};
    Json all;
    for (const std::string& name : what->empty() ? kLists : std::vector<std::string>{*what}) {
      all[name] = list_of(name);
      if (!*json) print_list(name, all[name], columns.at(name));
    }
    if (*json) std::cout << all.dump(1) << "\n";
  });
}

void add_describe_command(CLI::App& app) {
  CLI::App* describe = app.add_subcommand("describe", "options, paper, capabilities and equations of a router");
  auto name = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  describe->add_option("router", *name, "id (switchyard list routers) or path of a plugin file")->required();
  describe->add_flag("--json", *json, "as JSON");
  describe->footer("Examples:\n  switchyard describe soft_moe\n  switchyard describe path/to/my_router.so --json");
  describe->callback([=] {
    const Json d = description_of(*name);
    if (*json) {
      std::cout << d.dump(1) << "\n";
    } else {
      print_description(d);
    }
  });
}

}  // namespace swy::bench
