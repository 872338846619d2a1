#include "benchmarks/suite.h"

#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "core/base/resources.h"
#include "core/base/suggest.h"

namespace swy::bench {
namespace fs = std::filesystem;
namespace {

// Takes `key` when it is there; the schema has checked the type.
template <class T>
void take(const Json& j, const char* key, T& value) {
  if (j.contains(key)) value = j.at(key).get<T>();
}

Task parse_task(const Json& j) {
  Task task;
  task.id = j.at("id");
  task.dataset = j.at("dataset");
  const Json options = j.value("options", Json::object()), planted = options.value("planted", Json::object());
  take(options, "train_limit", task.options.train_limit);
  take(options, "test_limit", task.options.test_limit);
  take(options, "coarse_labels", task.options.coarse_labels);
  take(options, "resize_height", task.options.resize_height);
  take(options, "resize_width", task.options.resize_width);
  data::PlantedOptions& p = task.options.planted;
  take(planted, "seed", p.seed);
  take(planted, "image", p.image);
  take(planted, "patch", p.patch);
  take(planted, "clusters", p.clusters);
  take(planted, "classes", p.classes);
  take(planted, "train", p.train);
  take(planted, "test", p.test);
  const Json augment = j.value("augment", Json::object());
  take(augment, "crop", task.crop_padding);
  take(augment, "flip", task.flip);
  const std::vector<std::string>& known = data::dataset_ids();
  if (task.dataset.rfind("image_folder:", 0) != 0 &&
      std::find(known.begin(), known.end(), task.dataset) == known.end()) {
    usage_error("unknown data set '", task.dataset, "'", suggestion(task.dataset, known), ", image_folder:PATH");
  }
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
  for (const RouterEntry& router : suite.routers) {
    const int group = router.model.value("group_images", 1);
    if (suite.batch % group != 0 || suite.evaluation_batch % group != 0) {
      usage_error("model.group_images ", group, " must divide recipe.batch ", suite.batch, " and evaluation.batch ",
                  suite.evaluation_batch);
    }
  }
}

}  // namespace

Suite parse_suite(const Json& j, const std::string& what) {
  require_valid(j, "benchmarks/suites/suite.schema.json", what);
  Suite suite;
  suite.source = j;
  suite.name = j.at("name");
  suite.title = j.at("title");
  const Json expected = j.value("expected", Json::object()), recipe = j.at("recipe"),
             evaluation = j.value("evaluation", Json::object());
  take(expected, "minutes", suite.expected_minutes);
  take(expected, "note", suite.note);
  take(recipe, "batch", suite.batch);
  take(recipe, "label_smoothing", suite.label_smoothing);
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
  suite.train_flops = j.at("budget").at("train_flops");
  suite.seeds = j.at("seeds").get<std::vector<int64_t>>();
  take(j, "threads", suite.threads);
  take(j, "jobs", suite.jobs);
  take(j, "time_limit_s", suite.time_limit_s);
  take(evaluation, "batch", suite.evaluation_batch);
  take(evaluation, "every", suite.evaluation_every);
  take(evaluation, "curve_images", suite.curve_images);
  try {
    for (const Json& task : j.at("tasks")) suite.tasks.push_back(parse_task(task));
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

Suite read_suite(const std::string& name) {
  if (name.find('/') != std::string::npos || fs::path(name).extension() == ".json") {
    return parse_suite(read_json(name), "the suite '" + name + "'");
  }
  const std::vector<std::string> known = suite_names();
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    usage_error("unknown suite '", name, "'", suggestion(name, known), "; or give the path of a .json file");
  }
  Suite suite = parse_suite(read_json(resource("benchmarks/suites/" + name + ".json")), "the suite '" + name + "'");
  if (suite.name != name)
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

model::VitConfig vit_config(const RouterEntry& router, const data::ImageDataset& set) {
  const Json &m = router.model, capacity = m.value("capacity", Json::object());
  model::VitConfig c;
  if (set.height != set.width)
    usage_error("the ViT takes square images; '", set.id, "' has ", set.height, " x ", set.width);
  c.image = set.height;
  c.channels = set.channels;
  c.classes = set.classes;
  take(m, "patch", c.patch);
  take(m, "width", c.width);
  take(m, "depth", c.depth);
  take(m, "heads", c.heads);
  take(m, "hidden", c.hidden);
  c.site = m.value("site", "ffn") == "block" ? SWY_SITE_BLOCK : SWY_SITE_FFN;
  take(m, "experts", c.experts);
  c.expert_hidden = c.hidden;
  take(m, "expert_hidden", c.expert_hidden);
  take(m, "group_images", c.group_sequences);
  take(m, "identical_experts", c.identical_experts);
  take(m, "zero_head", c.zero_head);
  if (router.id != kNoRouter) {
    take(m, "routed_layers", c.routed_layers);
    if (c.routed_layers.empty())
      usage_error("router '", router.label, "': model.routed_layers is empty; name a block, or use the router 'none'");
  }
  take(capacity, "factor", c.train_capacity.factor);
  c.train_capacity.ceil = capacity.value("rounding", "round") == "ceil";
  take(capacity, "multiple_of", c.train_capacity.multiple_of);
  c.eval_capacity = c.train_capacity;
  take(capacity, "eval_factor", c.eval_capacity.factor);
  try {
    c.validate();
    for (const moe::CapacityRule& rule : {c.train_capacity, c.eval_capacity}) {
      if (!c.routed_layers.empty()) rule.of(int64_t{c.tokens()} * c.group_sequences, c.experts);
    }
  } catch (const Error& e) {
    throw Error(e.kind, "router '" + router.label + "', data set '" + set.id + "': " + e.what());
  }
  return c;
}

void check_budget(const Suite& suite, const model::VitConfig& c) {
  // Forward of the dense projections alone: 2 FLOPs per weight and token, and twice that backward.
  const double weights = 1.0 * c.patch_pixels() * c.width + 4.0 * c.depth * c.width * c.width;
  const double least = 6 * weights * c.tokens() * suite.batch;
  if (suite.train_flops < least) {
    usage_error("a budget of ", suite.train_flops, " training FLOPs does not pay for one step, which takes more than ",
                least, "; raise budget.train_flops (--budget) or make model or batch smaller");
  }
}

}  // namespace swy::bench
