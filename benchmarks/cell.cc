#include "benchmarks/cell.h"

#include "benchmarks/environment.h"
#include "core/base/error.h"
#include "core/base/hash.h"
#include "reports/record.h"

namespace swy::bench {

Cell make_cell(const Suite& suite, const Task& task, const RouterEntry& router, int64_t seed,
               const std::string& plugin_sha256) {
  Cell cell;
  const Json narrowed = narrow(suite, task, router, seed);
  cell.suite = parse_suite(narrowed, "the suite '" + suite.name + "'");
  Json decides = narrowed;
  decides["routers"][0]["id"] = plugin_sha256;  // the same plugin at another place is the same cell
  const auto name = [&] {
    const std::string text = decides.dump();
    return cat(task.id, "-", router.label, "-s", seed, "-", sha256_hex(text.data(), text.size()).substr(0, 8));
  };
  cell.id = name();
  for (const char* key : {"name", "evaluation", "robustness"}) decides.erase(key);
  cell.model = name();
  return cell;
}

Json to_json(const Cell& cell) {
  return {{"suite", cell.suite.source},    {"id", cell.id},
          {"model", cell.model},           {"data_dir", cell.data_dir.string()},
          {"command", cell.command},       {"checkpoint_every", cell.checkpoint_every},
          {"resume", cell.resume},         {"analysis", cell.analysis},
          {"keep_model", cell.keep_model}, {"models", cell.models.string()}};
}

Cell cell_from_json(const Json& j) {
  Cell cell;
  cell.suite = parse_suite(j.at("suite"), "the cell");
  cell.id = j.at("id");
  cell.model = j.at("model");
  cell.data_dir = j.at("data_dir").get<std::string>();
  cell.command = j.at("command").get<std::vector<std::string>>();
  cell.checkpoint_every = j.at("checkpoint_every");
  cell.resume = j.at("resume");
  cell.analysis = j.at("analysis");
  cell.keep_model = j.at("keep_model");
  cell.models = j.at("models").get<std::string>();
  return cell;
}

namespace {

Json environment_of(const Suite& suite) {
  Json j = environment();
  j["device"] = suite.device;
  return j;
}

Json budget_asked(const Suite& suite) {
  const std::string units = std::string(suite.unit()) + "s";
  const bool by_units = suite.train_units > 0;
  Json j = {{"asked_flops", by_units ? Json() : Json(suite.train_flops)},
            {"spent_flops", nullptr},
            {"steps", nullptr},
            {units, nullptr},
            {"work", Json::object()}};
  if (by_units) j["asked_" + units] = suite.train_units;
  return j;
}

}  // namespace

Json record_skeleton(const Cell& cell) {
  Json identity = {{"router", kNoRouter},
                   {"label", cell.router().label},
                   {"options", Json::object()},
                   {"plugin", nullptr},
                   {"abi", {{"major", SWY_ABI_MAJOR}, {"minor", SWY_ABI_MINOR}}}};
  if (cell.routed()) {
    const FoundRouter found = find_router(cell.router().id);
    identity["router"] = found.router->id;
    identity["name"] = found.router->name;
    identity["version"] = found.router->version;
    identity["paper"] = found.router->paper;
    identity["options"] = effective_options(*found.router, cell.router().options);
    identity["plugin"] = {{"sha256", found.plugin->sha256},
                          {"build", found.plugin->plugin->build ? found.plugin->plugin->build : ""}};
    identity["abi"] = {{"major", found.plugin->plugin->abi_major}, {"minor", found.plugin->plugin->abi_minor}};
  }
  return {
      {"schema", report::kRecordSchema},
      {"version", report::kRecordVersion},
      {"id", cell.id},
      {"identity", identity},
      {"suite", cell.suite.name},
      {"task",
       {{"id", cell.task().id}, {"dataset", cell.task().dataset}, {"sha256", nullptr}, {"unit", cell.suite.unit()}}},
      {"seed", cell.seed()},
      {"threads", cell.suite.threads},
      {"status", {{"state", "failed"}, {"reason", nullptr}}},
      {"budget", budget_asked(cell.suite)},
      {"metrics", Json::array()},
      {"curve", Json::array()},
      {"sites", Json::array()},
      {"timing", {{"metrics", Json::array()}}},
      {"environment", environment_of(cell.suite)},
      {"created", utc_now()},
      {"command", cell.command},
      {"cell", cell.suite.source}};
}

Json to_json(const Progress& p) {
  return {{"share", p.share},   {"step", p.step}, {"loss", p.loss},  {"units_per_s", p.units_per_s},
          {"left_s", p.left_s}, {"unit", p.unit}, {"doing", p.doing}};
}

std::optional<Progress> progress_from_line(const std::string& line) {
  const Json j = Json::parse(line, nullptr, false);
  if (!j.is_object()) return {};
  for (const char* key : {"share", "step", "loss", "units_per_s", "left_s"}) {
    if (!j.contains(key) || !j[key].is_number()) return {};
  }
  if (!j.contains("unit") || !j["unit"].is_string()) return {};
  return Progress{j["share"], j["step"], j["loss"], j["units_per_s"], j["left_s"], j["unit"], j.value("doing", "")};
}

std::filesystem::path checkpoint_path(const std::filesystem::path& record) {
  return std::filesystem::path(record).replace_extension(".safetensors");
}

std::filesystem::path model_path(const Cell& cell, const std::filesystem::path& folder) {
  return folder / (cell.model + ".safetensors");
}

std::filesystem::path early_model_path(const Cell& cell, const std::filesystem::path& folder) {
  return folder / (cell.model + ".early.safetensors");
}

}  // namespace swy::bench
