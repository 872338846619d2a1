#include "benchmarks/suite.h"

#include <algorithm>
#include <set>

#include "benchmarks/model_json.h"
#include "benchmarks/workload.h"
#include "core/base/error.h"
#include "core/base/resources.h"
#include "core/base/suggest.h"

namespace swy::bench {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSchemaFile = "benchmarks/suites/suite.schema.json";

// Where the schema offers a shape for each kind of model, leaves the one of this kind ("#/definitions/lm_model" for
// "lm"): a message can then name the place and the key that are wrong, not only that nothing matched.
void keep_kind(Json& schema, const std::string& kind) {
  if (!schema.is_structured()) return;
  if (schema.is_object() && schema.contains("anyOf")) {
    for (const Json& shape : Json(schema["anyOf"])) {
      if (shape.value("$ref", "").rfind("#/definitions/" + kind + "_", 0) == 0) schema = shape;
    }
  }
  for (Json& child : schema) keep_kind(child, kind);
}

void require_schema(const Json& j, const std::string& kind, const std::string& what) {
  Json schema = read_json(resource(kSchemaFile));
  keep_kind(schema, kind);
  std::string text;
  for (const std::string& line : schema_errors(j, schema)) text += "\n  " + line;
  if (!text.empty()) usage_error(what, " does not match ", kSchemaFile, ":", text);
}

// Which shapes the rest has to have. A model that is no object is left to the schema.
std::string kind_of(const Json& j, const std::string& what) {
  const Json model = j.is_object() ? j.value("model", Json::object()) : Json::object();
  const Json kind = model.is_object() ? model.value("kind", Json("vit")) : Json("vit");
  if (kind != "vit" && kind != "lm")
    usage_error(what, ": /model/kind: ", kind.dump(), " is not allowed; known: vit, lm");
  return kind;
}

Task parse_task(const Json& j, const std::string& kind) {
  Task task;
  task.id = j.at("id");
  task.dataset = j.at("dataset");
  task.options = j.value("options", Json::object());
  task.augment = j.value("augment", Json::object());
  modality(kind).check_dataset(task.dataset);
  return task;
}

RouterEntry parse_router(const Json& j, const Json& suite_model) {
  RouterEntry router;
  router.id = j.at("id");
  // A path's label is the file's name without its ending: it becomes part of a record's file name.
  router.label =
      j.value("label", router.id.find('/') == std::string::npos ? router.id : fs::path(router.id).stem().string());
  const Json options = j.value("options", Json::object());
  for (const auto& [key, value] : options.items()) {
    router.options[key] = value.is_string() ? value.get<std::string>() : value.dump();
  }
  router.model = suite_model;
  router.model.merge_patch(j.value("model", Json::object()));
  if (router.id == kNoRouter && !router.options.empty()) {
    usage_error("the router 'none' is the dense model and has no options; got '", router.options.begin()->first, "'");
  }
  return router;
}

template <class List, class Key>
void require_unique(const List& list, Key key, const char* what) {
  std::set<std::string> seen;
  for (const auto& entry : list) {
    if (!seen.insert(key(entry)).second)
      usage_error(what, " '", key(entry), "' stands there twice; give each one its own");
  }
}

void check_sense(const Suite& suite) {
  require_unique(
      suite.tasks, [](const Task& t) { return t.id; }, "the task id");
  require_unique(
      suite.routers, [](const RouterEntry& r) { return r.label; }, "the router label");
  require_unique(
      suite.seeds, [](int64_t s) { return std::to_string(s); }, "the seed");
  suite.optimizer.validate();
  if ((suite.train_flops > 0) == (suite.train_units > 0))
    usage_error("budget: give either train_flops or train_", suite.unit(), "s");
  const char* key = modality(suite.kind).group();
  for (const RouterEntry& router : suite.routers) {
    const int group = router.model.value(key, 1);
    if (suite.batch % group != 0 || suite.evaluation_batch % group != 0) {
      usage_error("model.", key, " ", group, " must divide recipe.batch ", suite.batch, " and evaluation.batch ",
                  suite.evaluation_batch);
    }
  }
}

}  // namespace

const char* Suite::unit() const { return modality(kind).unit(); }

std::string Suite::budget_text() const {
  return train_units > 0 ? cat(train_units, " training ", unit(), "s") : cat(train_flops, " training FLOPs");
}

Suite parse_suite(const Json& j, const std::string& what) {
  const std::string kind = kind_of(j, what);
  require_schema(j, kind, what);
  Suite suite;
  suite.source = j;
  suite.kind = kind;
  suite.name = j.at("name");
  suite.title = j.at("title");
  const Json expected = j.value("expected", Json::object()), recipe = j.at("recipe"), budget = j.at("budget"),
             evaluation = j.value("evaluation", Json::object());
  const std::string units = std::string(suite.unit()) + "s";
  take(expected, "minutes", suite.expected_minutes);
  take(expected, "note", suite.note);
  take(recipe, "batch", suite.batch);
  take(recipe, "label_smoothing", suite.label_smoothing);
  suite.random_windows = recipe.value("windows", "random") == "random";
  model::OptimizerConfig& o = suite.optimizer;
  take(recipe, "lr", o.lr);
  take(recipe, "final_lr_share", o.final_lr_share);
  take(recipe, "weight_decay", o.weight_decay);
  take(recipe, "beta1", o.beta1);
  take(recipe, "beta2", o.beta2);
  take(recipe, "eps", o.eps);
  take(recipe, "warmup", o.warmup);
  take(recipe, "clip_norm", o.clip_norm);
  take(recipe, "ema", o.ema_decay);
  take(budget, "train_flops", suite.train_flops);
  take(budget, ("train_" + units).c_str(), suite.train_units);
  suite.seeds = j.at("seeds").get<std::vector<int64_t>>();
  take(j, "device", suite.device);
  take(j, "precision", suite.precision);
  take(j, "threads", suite.threads);
  take(j, "jobs", suite.jobs);
  take(j, "time_limit_s", suite.time_limit_s);
  take(evaluation, "batch", suite.evaluation_batch);
  take(evaluation, "every", suite.evaluation_every);
  take(evaluation, ("curve_" + units).c_str(), suite.curve_units);
  take(evaluation, "stride", suite.stride);
  suite.valid_split = evaluation.value("split", "valid") == "valid";
  const Json robustness = j.value("robustness", Json::object());
  take(robustness, "level", suite.robustness.level);
  take(robustness, units.c_str(), suite.robustness.units);
  take(robustness, kind == "lm" ? "noises" : "corruptions", suite.robustness.only);
  take(robustness, "shift", suite.robustness.shift);
  for (const Json& a : robustness.value("attacks", Json::array()))
    suite.robustness.attacks.push_back({Stress::Kind::kAttack, a.at("name"), 0, a.at("radius"), a.value("steps", 0)});
  try {
    for (const Json& task : j.at("tasks")) suite.tasks.push_back(parse_task(task, kind));
    for (const Json& router : j.at("routers")) suite.routers.push_back(parse_router(router, j.at("model")));
    check_sense(suite);
  } catch (const Error& e) {
    throw Error(e.kind, what + ": " + e.what());
  }
  return suite;
}

std::vector<std::string> suite_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(resource("benchmarks/suites"))) {
    const std::string file = entry.path().filename().string();
    if (entry.path().extension() == ".json" && file != "suite.schema.json")
      names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

namespace {

bool is_path(const std::string& name) {
  return name.find('/') != std::string::npos || fs::path(name).extension() == ".json";
}

// A suite that extends another is that one with its own keys laid over it (JSON merge patch).
Json read_whole(const std::string& name, int depth = 0) {
  const std::vector<std::string> known = suite_names();
  if (!is_path(name) && std::find(known.begin(), known.end(), name) == known.end())
    usage_error("unknown suite '", name, "'", suggestion(name, known), "; or give the path of a .json file");
  Json j = read_json(is_path(name) ? fs::path(name) : resource("benchmarks/suites/" + name + ".json"));
  if (!j.is_object() || !j.contains("extends")) return j;
  constexpr int kMost = 8;
  if (!j["extends"].is_string() || depth == kMost)
    usage_error("the suite '", name, "': /extends: ",
                depth == kMost ? "suites that extend each other in a circle" : "give the name or path of a suite");
  Json suite = read_whole(j["extends"], depth + 1);
  j.erase("extends");
  suite.merge_patch(j);
  return suite;
}

}  // namespace

Suite read_suite(const std::string& name) {
  Suite suite = parse_suite(read_whole(name), "the suite '" + name + "'");
  if (!is_path(name) && suite.name != name)
    usage_error("the file of suite '", name, "' calls itself '", suite.name, "'; make both the same");
  return suite;
}

Json narrow(const Suite& suite, const Task& task, const RouterEntry& router, int64_t seed) {
  Json j = suite.source;
  for (const char* key : {"expected", "jobs", "time_limit_s"}) j.erase(key);
  j["title"] = "";
  const auto only = [](Json& list, const auto& matches) {
    for (const Json& entry : Json(list)) {
      if (matches(entry)) list = Json::array({entry});
    }
  };
  only(j["tasks"], [&](const Json& t) { return t.at("id") == task.id; });
  j["routers"] = Json::array({{{"id", router.id}, {"label", router.label}, {"options", router.options}}});
  j["model"] = router.model;
  j["seeds"] = {seed};
  j["threads"] = suite.threads;
  return j;
}

}  // namespace swy::bench
