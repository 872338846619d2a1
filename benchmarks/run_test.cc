// The program from outside: `switchyard run` on the smoke suite, with good routers and with one that goes wrong.
#include <algorithm>
#include <cmath>

#include "benchmarks/run_fixture.h"
#include "core/device/device.h"

namespace swy::bench {
namespace {

const std::string kMisbehave = SWITCHYARD_TEST_PLUGINS "/misbehave.so";

struct Run : RunTest {};

// Proves that two runs of one suite differ in nothing but timing, environment, date and command: same bits in every
// metric, curve, load and count; that every record is valid and holds what the summary needs; and that budgets are
// matched to a step.
TEST_F(Run, IsDeterministicAndComplete) {
  const std::string path = suite();
  const Said first = run(path, out), second = run(path, directory / "again");
  ASSERT_EQ(first.code, 0) << first.err;
  ASSERT_EQ(second.code, 0) << second.err;
  const auto a = records(out), b = records(directory / "again");
  ASSERT_EQ(a.size(), 4u);
  for (const auto& [name, record] : a) {
    EXPECT_EQ(report::without_timing(record), report::without_timing(b.at(name))) << name;
    EXPECT_EQ(record["status"]["state"], "ok");
    const double spent = record["budget"]["spent_flops"], steps = record["budget"]["steps"];
    EXPECT_LE(spent, 3e8);
    EXPECT_GT(spent + 1.5 * spent / steps, 3e8) << name;
    EXPECT_GT(report::metric(record, "gemm_share"), 0);
    EXPECT_FALSE(record.contains("causality")) << "images have no later tokens";
    EXPECT_EQ(record["sites"].size(), name == "none/1" ? 0u : 1u);
    EXPECT_GE(record["curve"].size(), 2u);
    expect_in(record["identity"]["label"], first.out);
  }
  EXPECT_NE(a.at("random/1")["metrics"], a.at("soft_moe/1")["metrics"]);
  // The table is recomputed from the records alone, and is the one the run wrote.
  const fs::path again = directory / "again.md";
  ASSERT_EQ(switchyard({"report", (out / "smoke").string(), "--out", again.string()}).code, 0);
  EXPECT_EQ(read_text(again), read_text(out / "smoke" / "summary.md"));
  const fs::path figure = directory / "again.svg";
  ASSERT_EQ(switchyard({"report", (out / "smoke").string(), "--plot", figure.string()}).code, 0);
  EXPECT_EQ(read_text(figure), read_text(out / "smoke" / "equal_compute.svg"));
  fs::create_directories(directory / "empty");
  EXPECT_EQ(switchyard({"report", (directory / "empty").string()}).code, 2);
}

// A suite for devices runs on the CPU when asked to, is then the same cell as one that never spoke of devices, and its
// command says so.
TEST_F(Run, ASuiteForDevicesRunsOnTheCpu) {
  const Json one = {{"routers", {{{"id", "random"}}}}};
  Json for_devices = one;
  for_devices["device"] = "cuda", for_devices["precision"] = "bf16";
  ASSERT_EQ(run(suite(one), out).code, 0);
  const Said said = run(suite(for_devices), directory / "again", {"--device", "cpu"});
  ASSERT_EQ(said.code, 0) << said.err;
  const Json a = records(out).begin()->second, b = records(directory / "again").begin()->second;
  EXPECT_EQ(report::without_timing(a), report::without_timing(b));
  EXPECT_NE(b["command"].dump().find("\"--device\",\"cpu\""), std::string::npos) << b["command"].dump();
}

// Proves that whatever a plugin does is a recorded result with its reason, that the cells after it still run, that the
// exit code is 1 and that nothing but records and the summary is left behind.
TEST_F(Run, GoesOnWhateverAPluginDoes) {
  Json routers = Json::array();
  for (const char* how : {"crash", "hang", "exit", "nan", "error", "refuse", "flood"}) {
    routers.push_back({{"id", kMisbehave}, {"label", how}, {"options", {{"how", how}}}});
  }
  routers.push_back({{"id", "random"}});
  const Said said = run(suite({{"routers", routers}, {"time_limit_s", 15}, {"jobs", 2}}), out);
  EXPECT_EQ(said.code, 1) << said.err;
  const auto all = records(out);
  ASSERT_EQ(all.size(), 8u);
  const auto expect_state = [&](const std::string& label, const std::string& state, const std::string& reason) {
    const Json& status = all.at(label + "/1")["status"];
    EXPECT_EQ(status["state"], state) << label << status;
    if (!reason.empty()) expect_in(reason, status["reason"]);
  };
  expect_state("crash", "crashed", "killed by SIGSEGV (segmentation fault); last line of stderr: about to crash");
  expect_state("hang", "timeout", "killed after the time limit of 15 s");
  expect_state("exit", "failed", "without writing its record");
  expect_state("nan", "diverged", "the training loss is ");
  expect_state("error", "failed", "the third forward went wrong");
  expect_state("refuse", "failed", "this router refuses");
  expect_state("flood", "ok", "");
  expect_state("random", "ok", "");
  for (const auto& entry : fs::directory_iterator(out / "smoke")) {
    const std::string extension = entry.path().extension();
    EXPECT_TRUE(extension == ".json" || extension == ".md" || extension == ".svg") << entry.path();
  }
}

// Proves that a second run into the same place is refused, that --resume runs only what is missing (finished records
// keep their bytes, failures count as finished), and that --retry-failed runs the failed one again.
TEST_F(Run, Resume) {
  const std::string path = suite(
      {{"routers", {{{"id", "random"}}, {{"id", kMisbehave}, {"label", "bad"}, {"options", {{"how", "error"}}}}}}});
  EXPECT_EQ(run(path, out).code, 1);
  const Said again = run(path, out);
  EXPECT_EQ(again.code, 2);
  expect_in("already holds records", again.err);

  std::map<std::string, std::string> before;
  for (const auto& e : fs::directory_iterator(out / "smoke")) before[e.path()] = read_text(e.path());
  const Said resumed = run(path, out, {"--resume", "--seeds", "2"});
  EXPECT_EQ(resumed.code, 1);
  expect_in("4 cells, 2 done before", resumed.err);
  for (const auto& [file, text] : before) {
    if (fs::path(file).extension() != ".json") continue;
    EXPECT_EQ(read_text(file), text) << file;
  }
  EXPECT_EQ(records(out).size(), 4u);
  expect_in("4 cells, 2 done before", run(path, out, {"--resume", "--retry-failed", "--seeds", "2"}).err);

  // A record cut short is no record: its cell runs again.
  for (const auto& [file, text] : before) {
    if (file.find("random") != std::string::npos) write_atomically(file, text.substr(0, text.size() / 2));
  }
  expect_in("4 cells, 3 done before", run(path, out, {"--resume", "--seeds", "2"}).err);
  EXPECT_EQ(records(out).at("random/1")["status"]["state"], "ok");
}

// Proves that wrong use and a broken environment end with exit code 2 and 3, a message that names the culprit, and
// nothing written.
TEST_F(Run, BadInput) {
  const std::string good = suite();
  write_atomically(directory / "file", "");
  const auto expect_refused = [&](const std::vector<std::string>& arguments, int code, const std::string& message) {
    const Said said = switchyard(arguments);
    EXPECT_EQ(said.code, code) << said.err;
    expect_in(message, said.err);
    EXPECT_FALSE(fs::exists(out));
  };
  const std::string o = out.string();
  expect_refused({"run", "smoek", "--out", o}, 2, "unknown suite 'smoek'; did you mean 'smoke'?");
  expect_refused({"run", good, "--out", o, "--routers", "sotf_moe"}, 2,
                 "unknown router 'sotf_moe'; did you mean 'soft_moe'?");
  expect_refused({"run", good, "--out", o, "--tasks", "plantde"}, 2, "unknown task 'plantde'; did you mean 'planted'?");
  expect_refused({"run", good, "--out", o, "--budget", "1e6"}, 2, "does not pay for one step");
  expect_refused({"run", good, "--out", o, "--budget", "-5"}, 2, "--budget");
  if (!why_no_cuda().empty()) expect_refused({"run", good, "--out", o, "--device", "cuda"}, 3, "no CUDA device");
  expect_refused({"run", good, "--out", o, "--precision", "bf16"}, 2, "--device cuda");
  expect_refused({"run", good, "--out", o, "--seeds", "0"}, 2, "--seeds");
  expect_refused({"run", good, "--out", (directory / "file" / "x").string()}, 3, (directory / "file" / "x").string());
  expect_refused(
      {"run", suite({{"tasks", {{{"id", "c"}, {"dataset", "cifar10"}}}}}), "--out", o, "--data", directory.string()}, 3,
      "cifar10");
  expect_refused({"run", suite({{"routers", {{{"id", "random"}, {"options", {{"kk", 1}}}}}}}), "--out", o}, 2, "kk");
  expect_refused({"run", suite({{"model", {{"experts", 100000}}}}), "--out", o}, 2,
                 "/model/experts: 100000 is not allowed");
  expect_refused({"rnu"}, 2, "unknown command 'rnu'; did you mean 'run'?");
  expect_refused({"run"}, 2, "suite");
  expect_refused({"describe", "sotf_moe"}, 2, "soft_moe");
  expect_refused({"list", "router"}, 2, "router");
}

// Proves that routed blocks run through the whole program: a quarter of the tokens through the block costs less than
// the block on all of them, the record says which site it was and how many tokens ran, and a dry run counts the same.
TEST_F(Run, BlockSites) {
  const auto block = [](const char* label, double factor) {
    return Json{
        {"id", "random"},
        {"label", label},
        {"model", {{"site", "block"}, {"experts", 1}, {"capacity", {{"factor", factor}, {"eval_factor", factor}}}}}};
  };
  const std::string path = suite({{"routers", {block("quarter", 0.25), block("all", 1)}}});
  const Said said = run(path, out);
  ASSERT_EQ(said.code, 0) << said.err;
  const auto all = records(out);
  const Json &quarter = all.at("quarter/1"), &whole = all.at("all/1");
  for (const Json& r : {quarter, whole}) {
    EXPECT_EQ(r["status"]["state"], "ok");
    ASSERT_EQ(r["sites"].size(), 1u);
    EXPECT_EQ(r["sites"][0]["name"], "block1");
    EXPECT_EQ(r["sites"][0]["experts"], 1);
  }
  EXPECT_EQ(quarter["sites"][0]["realised"]["experts_per_token"], 0.25);
  EXPECT_EQ(report::metric(quarter, "unrouted_share"), 0.75);
  EXPECT_EQ(report::metric(whole, "unrouted_share"), 0);
  EXPECT_LT(report::metric(quarter, "train_flops_per_image"), 0.75 * report::metric(whole, "train_flops_per_image"));
  const Json dry = Json::parse(run(path, directory / "dry", {"--dry-run", "--json"}).out);
  EXPECT_NEAR(dry["rows"][0]["flops_per_image"].get<double>(), report::metric(quarter, "train_flops_per_image"), 1);
  const Said refused = run(suite({{"model", {{"site", "block"}}}}), directory / "refused");
  EXPECT_EQ(refused.code, 2);
  expect_in("experts = 8 with routed blocks", refused.err);
}

// The same for text: Mixture of Depths costs less than the dense model and keeps a quarter of the tokens.
TEST_F(Run, BlockSitesOfALanguageModel) {
  const Json block = {{"site", "block"}, {"experts", 1}, {"capacity", {{"factor", 0.25}, {"eval_factor", 0.25}}}};
  const std::string path =
      suite({{"routers", {{{"id", "none"}}, {{"id", "mixture_of_depths"}, {"model", block}}}}}, "lm-smoke");
  const Said said = run(path, out);
  ASSERT_EQ(said.code, 0) << said.err;
  const auto all = records(out);
  const Json &none = all.at("none/1"), &depth = all.at("mixture_of_depths/1");
  EXPECT_EQ(depth["status"]["state"], "ok");
  EXPECT_EQ(depth["sites"][0]["name"], "block1");
  EXPECT_EQ(depth["sites"][0]["realised"]["experts_per_token"], 0.25);
  EXPECT_NEAR(report::metric(depth, "unrouted_share"), 0.75, 1e-3);  // the last window has some padding
  EXPECT_LT(report::metric(depth, "train_flops_per_token"), 0.75 * report::metric(none, "train_flops_per_token"));
}

// Proves that text runs through the whole program as images do: the same bits twice, budgets matched to a step, records
// that speak of tokens and never of images, a table ranked by the task's own headline, and a dry run that counts the
// same; and that a budget of tokens is spent to the token.
TEST_F(Run, Language) {
  const std::string path = suite(Json::object(), "lm-smoke");
  const Said first = run(path, out), second = run(path, directory / "again");
  ASSERT_EQ(first.code, 0) << first.err;
  ASSERT_EQ(second.code, 0) << second.err;
  const auto a = records(out), b = records(directory / "again");
  ASSERT_EQ(a.size(), 4u);
  for (const auto& [name, record] : a) {
    const Json rest = report::without_timing(record);
    EXPECT_EQ(rest, report::without_timing(b.at(name))) << name;
    Json results = rest;
    results.erase("cell");
    EXPECT_EQ(results.dump().find("image"), std::string::npos) << results;
    EXPECT_EQ(record["task"]["unit"], "token");
    EXPECT_EQ(record["task"]["headline"], "excess_loss");
    const bool claims = name != "softmax_token_choice/1";  // of the image routers, which say nothing of later tokens
    EXPECT_EQ(record["causality"]["score"]["causal"], claims ? Json(true) : Json()) << name;
    const double spent = record["budget"]["spent_flops"], steps = record["budget"]["steps"];
    EXPECT_LE(spent, 3e8);
    EXPECT_GT(spent + 1.5 * spent / steps, 3e8) << name;
    EXPECT_EQ(record["budget"]["tokens"], steps * 16 * 16);
    EXPECT_GT(report::metric(record, "train_tokens_per_second"), 0);
    EXPECT_GT(report::metric(record, "excess_loss"), 0);
    EXPECT_EQ(record["curve"].back()["token_loss"], report::metric(record, "token_loss"));
    EXPECT_EQ(std::isfinite(report::metric(record, "routing_information")), name != "none/1");
  }
  expect_in("excess nats", first.out);
  expect_in("MFLOPs/token", first.out);
  const Json dry = Json::parse(run(path, directory / "dry", {"--dry-run", "--json"}).out);
  EXPECT_NEAR(dry["rows"][0]["flops_per_token"].get<double>(), report::metric(a.at("none/1"), "train_flops_per_token"),
              1);

  const std::string by_tokens = suite(
      {{"budget", {{"train_flops", nullptr}, {"train_tokens", 2560}}}, {"routers", {{{"id", "none"}}}}}, "lm-smoke");
  const Said third = run(by_tokens, directory / "tokens");
  ASSERT_EQ(third.code, 0) << third.err;
  const Json record = records(directory / "tokens").at("none/1");
  EXPECT_EQ(record["budget"]["tokens"], 2560);
  EXPECT_EQ(record["budget"]["asked_tokens"], 2560);
  EXPECT_TRUE(record["budget"]["asked_flops"].is_null());
  for (const Json& word : record["command"]) EXPECT_NE(word, "--budget");
}

// Proves that compute is charged as it is done: in the dense phase of a router each token pays for all 8 experts (which
// is 8 times what a top-1 router pays), in its sparse phase for those it takes; and that a budget of FLOPs buys fewer
// steps for it. Expert FLOPs per token between the points of the curve:
//   smoe_dropout  from 1 expert to 8      competesmoe  competitions from half of training on
//   dselect_k     dense until bits settle remoe        half of the gates are open at the start
TEST_F(Run, DensePhasesAreCharged) {
  const Said said = run(suite({{"model", {{"capacity", {{"factor", 8}, {"eval_factor", 8}}}}},
                               {"budget", {{"train_flops", 1.2e9}}},
                               {"evaluation", {{"every", 0.1}}},
                               {"routers",
                                {{{"id", "top_k"}, {"options", {{"k", 1}}}},
                                 {{"id", "remoe"}, {"options", {{"k", 1}, {"lambda", 0.01}}}},
                                 {{"id", "dselect_k"}, {"options", {{"k", 1}, {"gamma", 0.1}}}},
                                 {{"id", "competesmoe"}, {"options", {{"k", 1}, {"rate", 1}, {"warm_up", 0.5}}}},
                                 {{"id", "smoe_dropout"}, {"options", {{"k_start", 1}, {"k_end", 8}}}}}}},
                              "lm-smoke"),
                        out);
  ASSERT_EQ(said.code, 0) << said.err;
  const auto all = records(out);
  const auto spent_on_experts = [&](const std::string& label) {
    std::vector<double> per_token;
    const Json& record = all.at(label + "/1");
    const double step_tokens = record["budget"]["tokens"].get<double>() / record["budget"]["steps"].get<double>();
    double flops = 0, step = 0;
    for (const Json& p : record["curve"]) {
      const Json& parts = p["flops_by_part"];
      EXPECT_NEAR(parts["model"].get<double>() + parts["experts"].get<double>() + parts["router"].get<double>(),
                  p["flops"].get<double>(), 1);
      const double now = parts["experts"], at = p["step"];
      per_token.push_back((now - flops) / (step_tokens * (at - step)));
      flops = now, step = at;
    }
    return per_token;
  };
  const double one = spent_on_experts("top_k").front(), steps = all.at("top_k/1")["budget"]["steps"];
  const auto remoe = spent_on_experts("remoe"), dselect = spent_on_experts("dselect_k");
  const auto compete = spent_on_experts("competesmoe"), dropout = spent_on_experts("smoe_dropout");
  EXPECT_GT(one, 0);
  EXPECT_NEAR(dropout.back() / one, 8, 1e-6);
  EXPECT_LT(dropout.front() / one, 2);
  EXPECT_NEAR(compete.front() / one, 1, 1e-6);
  EXPECT_GE(compete.back() / one, 8);
  EXPECT_NEAR(dselect.front() / one, 8, 0.5);
  EXPECT_LT(dselect.back() / one, 2);
  EXPECT_GT(remoe.front() / one, 2);
  EXPECT_LT(remoe.back() / one, 1);
  for (const char* label : {"dselect_k/1", "competesmoe/1", "smoe_dropout/1"})
    EXPECT_LT(all.at(label)["budget"]["steps"].get<double>(), 0.9 * steps) << label;
  const std::string figure = read_text(out / "lm-smoke" / "equal_compute.svg");
  for (const char* label : {"top_k", "remoe", "dselect_k", "competesmoe", "smoe_dropout"})
    expect_in(std::string("<g class=\"cost\" data-name=\"") + label + "\"", figure);
}

// Proves that --analysis adds its figures, of the tokens that were evaluated, to images and to text, follows one fixed
// text through training, and changes nothing else of a record.
TEST_F(Run, Analysis) {
  for (const char* base : {"smoke", "lm-smoke"}) {
    const std::string path = suite({{"routers", {{{"id", "softmax_token_choice"}}}}}, base);
    const fs::path plain = directory / base / "plain", analysed = directory / base / "analysed";
    ASSERT_EQ(run(path, plain).code, 0);
    const Said said = run(path, analysed, {"--analysis"});
    ASSERT_EQ(said.code, 0) << said.err;
    const Json before = records(plain).at("softmax_token_choice/1");
    Json after = records(analysed).at("softmax_token_choice/1");
    const Json analysis = after.at("analysis");
    after.erase("analysis");
    EXPECT_EQ(report::without_timing(after), report::without_timing(before)) << base;
    EXPECT_EQ(after["command"].back(), "--analysis");
    EXPECT_EQ(analysis["tokens"], base == std::string("smoke") ? 128 * 16 : 2047);
    EXPECT_GT(analysis["figures"].size(), 5u);
    EXPECT_GE(analysis["stability"].size(), 2u);
    EXPECT_EQ(analysis["sites"].size(), 1u);
    for (const char* name : {"router_expert_coupling", "drop_top1_loss", "drop_top2_loss"}) {
      const auto named = [&](const Json& f) { return f["name"] == name; };
      const auto figure = std::find_if(analysis["figures"].begin(), analysis["figures"].end(), named);
      ASSERT_NE(figure, analysis["figures"].end()) << name;
      EXPECT_TRUE((*figure)["value"].is_number()) << name << *figure;
    }
    EXPECT_EQ(said.out.find("route alike"), std::string::npos) << "one seed is no pair";
    expect_in("do runs from other seeds route alike?",
              run(path, analysed, {"--analysis", "--resume", "--seeds", "2"}).out);
  }
}

// Proves that a dry run says what each router costs and writes nothing.
TEST_F(Run, DryRun) {
  const Said said = run(suite(), out, {"--dry-run", "--json"});
  ASSERT_EQ(said.code, 0) << said.err;
  const Json j = Json::parse(said.out);
  ASSERT_EQ(j["rows"].size(), 4u);
  for (const Json& row : j["rows"]) {
    EXPECT_GT(row["flops_per_image"].get<double>(), 0);
    EXPECT_GT(row["steps"].get<double>(), 1);
  }
  EXPECT_EQ(j["rows"][0]["work_per_image"]["experts"]["forward"]["flops"], 0.0);  // the dense model
  EXPECT_FALSE(fs::exists(out));
}

// Proves that an interrupted cell goes on from its checkpoint and ends with the same bits as one that was not
// interrupted.
TEST_F(Run, CheckpointResumesBitForBit) {
  const std::string path = suite({{"routers", {{{"id", "soft_moe"}}}}, {"budget", {{"train_flops", 2e9}}}});
  ASSERT_EQ(run(path, directory / "whole").code, 0);
  // Killed by its time limit somewhere in the middle; each try is given a little longer until one leaves a checkpoint.
  bool interrupted = false;
  for (double limit = 0.3; limit < 20 && !interrupted; limit *= 1.3) {
    fs::remove_all(out);
    const Said said = run(path, out, {"--checkpoint-every", "0.01", "--time-limit", std::to_string(limit)});
    if (said.code == 0) break;
    for (const auto& e : fs::directory_iterator(out / "smoke"))
      interrupted = interrupted || e.path().extension() == ".safetensors";
  }
  if (!interrupted) GTEST_SKIP() << "the cell ended before a checkpoint could be seen";
  ASSERT_EQ(run(path, out, {"--resume", "--retry-failed"}).code, 0);
  const Json whole = records(directory / "whole").at("soft_moe/1"), resumed = records(out).at("soft_moe/1");
  EXPECT_GT(resumed["timing"]["resumed_at_step"], 0);
  EXPECT_EQ(report::without_timing(resumed), report::without_timing(whole));
}

// Proves that list and describe print JSON that a program can read, with the options' ranges and defaults.
TEST_F(Run, ListAndDescribe) {
  const Json list = Json::parse(switchyard({"list", "--json"}).out);
  for (const char* what : {"routers", "suites", "datasets", "metrics"}) EXPECT_FALSE(list.at(what).empty()) << what;
  const Json d = Json::parse(switchyard({"describe", kMisbehave, "--json"}).out);
  EXPECT_EQ(d["id"], "misbehave");
  EXPECT_EQ(d["options"][0]["default"], "fine");
  EXPECT_EQ(d["options"][0]["choices"], "fine|crash|hang|exit|nan|error|flood|refuse");
  EXPECT_EQ(d["capabilities"], Json::array({"cpu"}));
  EXPECT_EQ(d["plugin"]["sha256"].get<std::string>().size(), 64u);
}

// The suites for devices, at the size of a toy: all of their routers fit their models and their data.
TEST_F(Run, ShortStudiesAtToySize) {
  const Json vision = {{"model",
                        {{"width", 16},
                         {"depth", 2},
                         {"heads", 2},
                         {"hidden", 32},
                         {"routed_layers", {1}},
                         {"experts", 4},
                         {"expert_hidden", 16}}},
                       {"recipe", {{"batch", 8}}},
                       {"evaluation", {{"batch", 8}, {"every", 1}, {"curve_images", 8}}}};
  Json images = vision;
  images["tasks"] = read_json(resource("benchmarks/suites/study-short-vision.json"))["tasks"];
  images["tasks"][0]["options"]["planted"].update({{"train", 64}, {"test", 16}});
  Json text = vision;
  text["model"].update({{"context", 16}, {"experts", 8}});
  text["tasks"] = read_json(resource("benchmarks/suites/lm-smoke.json"))["tasks"];
  text["evaluation"] = {{"batch", 8}, {"every", 1}, {"curve_tokens", 64}};
  for (const auto& [patch, base] : {std::pair(images, "study-short-vision"), std::pair(text, "study-short-lm")}) {
    const Said said = run(suite(patch, base), out / base, {"--device", "cpu"});
    ASSERT_EQ(said.code, 0) << said.out << said.err;
    for (const auto& [name, record] : records(out / base)) EXPECT_EQ(record["status"]["state"], "ok") << name;
  }
}

}  // namespace
}  // namespace swy::bench
