// What happens before the first step: loading, every option at its ends, sites of every size, several instances at
// once. No batch and no memory is needed for any of it.
#include <memory>
#include <sstream>
#include <thread>

#include "core/conform/draw.h"
#include "core/conform/result.h"
#include "core/conform/setup.h"
#include "core/plugin/loader.h"

namespace swy::conform {
namespace {

// The loader refuses on behalf of several rules, and not every message of it names one.
std::string rule_of_refusal(const std::string& message) {
  const auto says = [&](const char* part) { return message.find(part) != std::string::npos; };
  if (const std::string rule = rule_in(message); !rule.empty()) return rule;
  if (says("another router.h") || says("swy_plugin.struct_size") || says("ABI major")) return "R24";
  if (says("cannot load the plugin") || says("without the symbol swy_plugin_v1")) return "R01";
  return "R04";
}

void loads(const Subject& subject, const CaseContext& context) {
  std::vector<std::string> ids;
  try {
    const swy_plugin& plugin = *load_plugin(subject.plugin).plugin;
    for (uint32_t i = 0; i < plugin.n_routers; ++i) ids.emplace_back(plugin.routers[i]->id);
  } catch (const Error& e) {
    broken(rule_of_refusal(e.what()), e.what());
  }
  context.note("routers", ids);
}

// Two groups, the second one shorter, with room for another token.
DrawnShape ordinary_shape() {
  DrawnShape s;
  s.width = 16, s.experts = 4, s.capacity = 4;
  s.sequence_tokens = {8, 8, 5};
  s.group_sequences = {2, 1};
  s.group_capacity = {4, 2};
  s.prompt_tokens = {2, 3, 1};
  s.tasks = 2, s.sequence_task = {0, 1, 1};
  s.task_width = 6, s.instruction_width = 6, s.spare_tokens = 1;
  return s;
}

// Every setup call for one choice of options at one site. Returns the refusal, or "".
std::string go_through(const swy_router& router, const OptionText& options, const swy_site& site,
                       const std::string& where) {
  Setup setup(router, options, where);
  if (!setup.created().ok()) return setup.created().refusal;
  swy_needs needs;
  swy_cost cost;
  Answer answer = setup.needs(site, needs);
  if (answer.ok()) answer = setup.cost(site, cost);
  setup.destroy();
  return answer.refusal;
}

// The texts at the ends of an option's range; all choices.
std::vector<std::string> extremes(const swy_option& o) {
  if (o.type == SWY_OPT_BOOL) return {"false", "true"};
  std::vector<std::string> texts;
  if (o.type == SWY_OPT_CHOICE) {
    std::istringstream in(o.choices);
    for (std::string choice; std::getline(in, choice, '|');) texts.push_back(choice);
    return texts;
  }
  for (const double end : {o.low, o.high}) {
    std::ostringstream text;
    text.precision(17);
    text << std::fixed << end;
    std::string number = text.str();
    if (o.type == SWY_OPT_INT) number.erase(number.find('.'));
    texts.push_back(number);
  }
  return texts;
}

void takes_its_presets(const Subject& subject, const CaseContext&) {
  const std::string refusal = go_through(*subject.router, {}, site_of(ordinary_shape()), "with all presets");
  if (!refusal.empty()) broken("R06", "it refuses its own presets at an ordinary site: ", refusal);
}

void takes_or_refuses_options(const Subject& subject, const CaseContext& context) {
  const swy_router& router = *subject.router;
  int tried = 0, refused = 0;
  for (uint32_t i = 0; i < router.n_options; ++i) {
    const swy_option& o = router.options[i];
    for (const std::string& value : extremes(o)) {
      ++tried;
      const std::string where = cat("with ", o.name, " = ", value);
      refused += !go_through(router, {{o.name, value}}, site_of(ordinary_shape()), where).empty();
    }
  }
  context.note("tried", tried);
  context.note("refused", refused);
}

bool is_refused(const swy_router& router, const OptionText& options) {
  try {
    parse_options(router, options);
    return false;
  } catch (const Error& e) {
    return e.kind == Kind::kUsage;
  }
}

void refuses_unknown_options(const Subject& subject, const CaseContext&) {
  const swy_router& router = *subject.router;
  if (!is_refused(router, {{"no_such_option", "1"}})) broken("R06", "an option that is not in its table is taken");
  for (uint32_t i = 0; i < router.n_options; ++i) {
    const std::string name = router.options[i].name;
    if (!is_refused(router, {{name, "not a value"}})) broken("R06", "option '", name, "' takes the text 'not a value'");
  }
}

struct NamedSite {
  const char* name;
  swy_site site;
};

std::vector<NamedSite> odd_sites() {
  const DrawnShape usual = ordinary_shape();
  std::vector<NamedSite> sites;
  const auto add = [&](const char* name, auto change) {
    DrawnShape shape = usual;
    change(shape);
    sites.push_back({name, site_of(shape)});
  };
  add("of one expert", [](DrawnShape& s) { s.experts = 1; });
  add("of width 1", [](DrawnShape& s) { s.width = 1; });
  add("of capacity 1", [](DrawnShape& s) { s.capacity = 1, s.group_capacity = {1, 1}; });
  add("of more capacity than tokens", [](DrawnShape& s) { s.capacity = 64, s.group_capacity = {64, 20}; });
  add("of more experts than tokens", [](DrawnShape& s) { s.experts = 97, s.capacity = 1, s.group_capacity = {1, 1}; });
  add("of one token", [](DrawnShape& s) {
    s.sequence_tokens = s.group_sequences = s.group_capacity = s.prompt_tokens = {1};
    s.sequence_task = {0}, s.tasks = 1, s.capacity = 1, s.spare_tokens = 0;
  });
  add("of the least of everything", [](DrawnShape& s) {
    s.width = s.experts = s.capacity = s.tasks = s.task_width = s.instruction_width = 1;
    s.sequence_tokens = s.group_sequences = s.group_capacity = s.prompt_tokens = {1};
    s.sequence_task = {0}, s.spare_tokens = 0;
  });
  // As large as models get: products of these sizes leave 32 bits.
  add("of a million tokens", [](DrawnShape& s) {
    s.width = 8192, s.experts = 512, s.capacity = 4096;
    s.sequence_tokens.assign(256, 4096);
    s.group_sequences.assign(256, 1), s.group_capacity.assign(256, 4096);
  });
  add("without task and instruction", [](DrawnShape& s) { s.task_width = s.instruction_width = 0; });
  return sites;
}

// At each site the presets, then each whole-number option at its top: more choices than experts, more rounds than
// tokens.
void takes_or_refuses_sites(const Subject& subject, const CaseContext& context) {
  const swy_router& router = *subject.router;
  std::vector<OptionText> choices = {{}};
  for (uint32_t i = 0; i < router.n_options; ++i)
    if (router.options[i].type == SWY_OPT_INT)
      choices.push_back({{router.options[i].name, extremes(router.options[i]).back()}});
  int refused = 0;
  for (const NamedSite& s : odd_sites()) {
    for (const OptionText& options : choices) {
      const std::string where = cat("at a site ", s.name, " with ", options.empty() ? "presets" : describe(options));
      refused += !go_through(router, options, s.site, where).empty();
    }
  }
  context.note("tried", odd_sites().size() * choices.size());
  context.note("refused", refused);
}

// What `needs` answered, by value.
std::string needs_text(Setup& setup, const swy_site& site) {
  swy_needs n;
  if (const Answer answer = setup.needs(site, n); !answer.ok()) return "refused: " + answer.refusal;
  std::string text =
      cat(n.plan_kind, " ", n.row_kind, " ", n.aggregate, " ", n.slots, " ", n.capacity, " ", n.mix_blocks, " ",
          n.inputs, " ", n.flags, " ", n.max_assign, " ", n.scratch_forward, " ", n.scratch_backward, " ", n.saved);
  for (uint32_t i = 0; i < n.n_tensors; ++i) {
    const swy_tensor_spec& t = n.tensors[i];
    text += cat("; ", t.name, " ", t.rank, " ", t.shape[0], " ", t.shape[1], " ", t.shape[2], " ", t.shape[3], " ",
                t.dtype, " ", t.role, " ", t.init, " ", t.init_scale, " ", t.lr_scale, " ", t.flags);
  }
  for (uint32_t i = 0; i < n.n_aux; ++i) text += cat("; ", n.aux[i].name, " ", n.aux[i].weight);
  for (uint32_t i = 0; i < n.n_metrics; ++i) text += cat("; ", n.metrics[i].name);
  return text;
}

void keeps_instances_apart(const Subject& subject, const CaseContext&) {
  const swy_router& router = *subject.router;
  const swy_site small = site_of(ordinary_shape());
  swy_site large = small;
  large.d_model = 33, large.n_experts = 7;
  const auto make = [&] { return std::make_unique<Setup>(router, OptionText{}, "of several instances"); };
  auto alone = make();
  if (!alone->created().ok()) skip("create refuses the presets; see init.presets");
  const std::string want_small = needs_text(*alone, small);
  alone = make();
  const std::string want_large = needs_text(*alone, large);
  alone->destroy();

  auto a = make(), b = make();
  const auto expect = [](const std::string& got, const std::string& want, const char* when) {
    if (got != want) broken("R03", "needs answers otherwise ", when, ":\n  ", got, "\ninstead of\n  ", want);
  };
  expect(needs_text(*a, small), want_small, "beside another instance");
  expect(needs_text(*b, large), want_large, "after another instance was asked about another site");
  a->destroy();
  expect(needs_text(*b, large), want_large, "after another instance was destroyed");
  auto c = make();
  expect(needs_text(*c, small), want_small, "in an instance made after another was destroyed");
  c->destroy();
  b->destroy();
}

void sets_up_in_threads(const Subject& subject, const CaseContext&) {
  const swy_router& router = *subject.router;
  constexpr int kThreads = 4, kRounds = 16;
  const auto work = [&](int thread) {
    swy_site site = site_of(ordinary_shape());
    site.d_model = 8 + thread;
    std::string first;
    for (int round = 0; round < kRounds; ++round) {
      Setup setup(router, {}, "in several threads");
      const std::string text = setup.created().ok() ? needs_text(setup, site) : setup.created().refusal;
      if (round == 0) first = text;
      if (text != first)
        broken("R03", "instances made by several threads at once: needs answered first\n  ", first, "\nand then\n  ",
               text);
    }
  };
  std::vector<std::exception_ptr> errors(kThreads);
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      try {
        work(i);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    });
  }
  for (std::thread& t : threads) t.join();
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace

std::vector<Case> init_cases() {
  return {
      {"init.load", "init", "R04", "The plugin loads and its tables are in order.", loads, false},
      {"init.presets", "init", "R06", "Every setup call takes the preset options at an ordinary site.",
       takes_its_presets},
      {"init.options", "init", "R06",
       "Each option at the ends of its range, and each choice, is taken, or refused "
       "with a reason.",
       takes_or_refuses_options},
      {"init.unknown_option", "init", "R06", "What is not in the option table is refused.", refuses_unknown_options},
      {"init.sites", "init", "R06", "Sites of every size are taken, or refused with a reason.", takes_or_refuses_sites},
      {"init.interleaved", "init", "R03", "An instance does not feel others that come and go.", keeps_instances_apart},
      {"init.threads", "init", "R03", "Instances set up by several threads at once do not feel each other.",
       sets_up_in_threads}};
}

}  // namespace swy::conform
