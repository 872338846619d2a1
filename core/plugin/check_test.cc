// Every refusal of the table checks, one changed member at a time, on tables in memory.
#include "core/plugin/check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "core/abi/layout.h"
#include "core/base/error.h"

namespace swy {
namespace {

swy_status create(const swy_host*, const swy_value*, int32_t, void**, swy_exec*) { return SWY_OK; }
void destroy(void*) {}
swy_status needs(void*, const swy_site*, swy_needs*, swy_exec*) { return SWY_OK; }
swy_status cost(void*, const swy_site*, swy_cost*, swy_exec*) { return SWY_OK; }
swy_status forward(void*, swy_exec*, const swy_batch*, const swy_state*, swy_plan*) { return SWY_OK; }
swy_status backward(void*, swy_exec*, const swy_batch*, const swy_state*, const swy_plan*, const swy_plan_grad*,
                    const swy_tensor*) {
  return SWY_OK;
}

// A plugin that passes; each test spoils one thing.
struct Tables {
  swy_option option[2] = {};
  swy_router router = {};
  const swy_router* routers[2] = {&router, &router};
  swy_plugin plugin = {};

  Tables() {
    option[0] = {"k", "experts per token", nullptr, SWY_OPT_INT, 0, 1, 8, {2, 0, nullptr}};
    option[1] = {"score", "score function", "softmax|sigmoid", SWY_OPT_CHOICE, 0, 0, 0, {0, 0, "sigmoid"}};
    router.struct_size = sizeof router;
    router.caps = SWY_CAP_CPU | SWY_CAP_BACKWARD;
    router.id = "r";
    router.name = "R";
    router.version = "1";
    router.options = option;
    router.n_options = 2;
    router.create = create;
    router.destroy = destroy;
    router.needs = needs;
    router.cost = cost;
    router.forward = forward;
    router.backward = backward;
    plugin.struct_size = sizeof plugin;
    plugin.abi_major = SWY_ABI_MAJOR;
    plugin.n_routers = 1;
    plugin.layout = swy_layout;
    plugin.n_layout = SWY_N_LAYOUT;
    plugin.routers = routers;
  }
};

std::string refusal(const std::function<void(Tables&)>& spoil) {
  Tables tables;
  spoil(tables);
  try {
    check_plugin(tables.plugin, "p.so");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, Kind::kEnvironment);
    return error.what();
  }
  return "accepted";
}

// The unspoilt tables pass, so every refusal below is due to the one thing changed.
TEST(Check, AcceptsGoodTables) {
  EXPECT_EQ(refusal([](Tables&) {}), "accepted");
}

// Each required callback is missed by name.
TEST(Check, NamesEachMissingCallback) {
  const std::string start = "p.so: router 'r': the required callback ";
  EXPECT_EQ(refusal([](Tables& t) { t.router.create = nullptr; }), start + "create is missing (rule R04)");
  EXPECT_EQ(refusal([](Tables& t) { t.router.destroy = nullptr; }), start + "destroy is missing (rule R04)");
  EXPECT_EQ(refusal([](Tables& t) { t.router.needs = nullptr; }), start + "needs is missing (rule R04)");
  EXPECT_EQ(refusal([](Tables& t) { t.router.cost = nullptr; }), start + "cost is missing (rule R04)");
  EXPECT_EQ(refusal([](Tables& t) { t.router.forward = nullptr; }), start + "forward is missing (rule R04)");
}

// backward is there if and only if the capability claims it; some device must be claimed.
TEST(Check, CapabilitiesAgreeWithCallbacks) {
  EXPECT_EQ(refusal([](Tables& t) { t.router.backward = nullptr; }),
            "p.so: router 'r': caps claim SWY_CAP_BACKWARD but the callback backward is missing (rule R04)");
  EXPECT_EQ(refusal([](Tables& t) { t.router.caps = SWY_CAP_CPU; }),
            "p.so: router 'r': the callback backward is there but caps do not claim SWY_CAP_BACKWARD (rule R04)");
  EXPECT_EQ(refusal([](Tables& t) { t.router.caps = SWY_CAP_BACKWARD; }),
            "p.so: router 'r': caps claim neither SWY_CAP_CPU nor SWY_CAP_CUDA");
}

// A router without size, id, name or version, or with an id that could not stand in "path:id", is refused.
TEST(Check, RouterMustHaveItsIdentity) {
  EXPECT_EQ(refusal([](Tables& t) { t.router.struct_size = 8; }),
            "p.so: swy_router.id is missing (swy_router.struct_size is 8)");
  EXPECT_EQ(refusal([](Tables& t) { t.router.id = nullptr; }),
            cat("p.so: swy_router.id is missing (swy_router.struct_size is ", sizeof(swy_router), ")"));
  EXPECT_EQ(refusal([](Tables& t) { t.router.id = "a:b"; }),
            "p.so: router 'a:b': an id may hold no slash, colon, comma or blank");
  EXPECT_EQ(refusal([](Tables& t) { t.router.name = ""; }), "p.so: router 'r': swy_router.name is missing");
  EXPECT_EQ(refusal([](Tables& t) { t.router.version = nullptr; }), "p.so: router 'r': swy_router.version is missing");
  EXPECT_EQ(refusal([](Tables& t) { t.plugin.n_routers = 0; }), "p.so: the plugin holds no router");
  EXPECT_EQ(refusal([](Tables& t) { t.plugin.n_routers = 2; }), "p.so: two routers have the id 'r'");
  EXPECT_EQ(refusal([](Tables& t) { t.routers[0] = nullptr; }), "p.so: entry 0 of swy_plugin.routers is NULL");
}

// An option table that could not be parsed by, documented or reset to its preset is refused.
TEST(Check, OptionTableMustBeSane) {
  const std::string start = "p.so: router 'r': ", k = start + "option 'k': ", score = start + "option 'score': ";
  EXPECT_EQ(refusal([](Tables& t) { t.router.options = nullptr; }), start + "n_options is 2 but options is NULL");
  EXPECT_EQ(refusal([](Tables& t) { t.option[0].name = nullptr; }), start + "option 0 has no name");
  EXPECT_EQ(refusal([](Tables& t) { t.option[1].name = "k"; }), start + "option 'k' is listed twice");
  EXPECT_EQ(refusal([](Tables& t) { t.option[0].doc = nullptr; }), start + "option 'k' has no doc");
  EXPECT_EQ(refusal([](Tables& t) { t.option[0].type = 9; }), k + "type is 9, not one of SWY_OPT_*");
  EXPECT_EQ(refusal([](Tables& t) { t.option[0].high = 0; }), k + "range [1, 0] is empty");
  EXPECT_EQ(refusal([](Tables& t) { t.option[0].preset.i = 9; }), k + "the preset 9 is outside [1, 8]");
  EXPECT_EQ(refusal([](Tables& t) { t.option[0].choices = "a|b"; }),
            k + "choices must be there for SWY_OPT_CHOICE and NULL for every other type");
  EXPECT_EQ(refusal([](Tables& t) { t.option[1].preset.s = "soft"; }),
            score + "the preset is not among \"softmax|sigmoid\"");
  EXPECT_EQ(refusal([](Tables& t) { t.option[1].choices = "sigmoid||"; }),
            score + "choices \"sigmoid||\" hold an empty or repeated entry");
}

// A plugin without the layout table is refused.
TEST(Check, LayoutMustBeThere) {
  EXPECT_EQ(refusal([](Tables& t) { t.plugin.layout = nullptr; }),
            "p.so: swy_plugin.layout is empty; set it to the table swy_layout of core/abi/layout.h");
}

using Fields = std::vector<swy_field>;
Fields::iterator at(Fields& fields, const std::string& name) {
  return std::find_if(fields.begin(), fields.end(), [&](const swy_field& f) { return f.name == name; });
}

// What check_plugin says of a plugin whose header differed as `change` does to its layout; only the lines on fields.
std::string layout_refusal(const std::function<void(Fields&)>& change) {
  Fields fields(swy_layout, swy_layout + SWY_N_LAYOUT);
  change(fields);
  const std::string text = refusal([&](Tables& t) {
    t.plugin.layout = fields.data();
    t.plugin.n_layout = static_cast<uint32_t>(fields.size());
  });
  const std::string head = "p.so was built against another router.h:\n  ";
  if (text.rfind(head, 0) != 0) return text;
  return text.substr(head.size(), text.rfind('\n') - head.size());
}

// Rule R24: either side may know more fields at the end of a growable struct, or a whole struct more.
TEST(Check, LayoutMayBeLongerOrShorterAtTheEnd) {
  EXPECT_EQ(layout_refusal([](Fields& f) {
              f.push_back({"swy_exec.colour", "float", sizeof(swy_exec), 4});
              at(f, "swy_exec")->size += 8;
            }),
            "accepted");
  EXPECT_EQ(layout_refusal([](Fields& f) {
              f.erase(at(f, "swy_exec.progress"));
              at(f, "swy_exec")->size -= 8;
            }),
            "accepted");
  EXPECT_EQ(layout_refusal([](Fields& f) { f.push_back({"swy_later.struct_size", "uint32_t", 0, 4}); }), "accepted");
}

// A field retyped at its place, moved, removed or inserted where the other side has fields behind it, or two different
// fields at one end: refused, naming struct and field.
TEST(Check, LayoutMustAgreeInWhatBothSidesKnow) {
  EXPECT_EQ(layout_refusal([](Fields& f) { at(f, "swy_exec.step")->type = "uint64_t"; }),
            "swy_exec.step: plugin has offset 64, size 8, type uint64_t; host has offset 64, size 8, type int64_t");
  EXPECT_EQ(layout_refusal([](Fields& f) { at(f, "swy_exec.step")->offset = 72; }),
            "swy_exec.step: plugin has offset 72, size 8, type int64_t; host has offset 64, size 8, type int64_t");
  EXPECT_EQ(layout_refusal([](Fields& f) { f.erase(at(f, "swy_exec.seed")); }),
            "swy_exec.seed: the host has it (offset 56, size 8, type uint64_t), the plugin does not");
  EXPECT_EQ(layout_refusal([](Fields& f) {
              f.push_back({"swy_exec.colour", "float", 56, 4});
            }),
            "swy_exec.colour: the plugin has it (offset 56, size 4, type float), the host does not");
  EXPECT_EQ(layout_refusal([](Fields& f) { at(f, "swy_exec.ctx")->name = "swy_exec.context"; }),
            cat("swy_exec.ctx: the host has it (offset ", offsetof(swy_exec, ctx),
                ", size 8, type void *), the plugin does not\n  swy_exec.context: the plugin has it (offset ",
                offsetof(swy_exec, ctx), ", size 8, type void *), the host does not"));
}

// Structs that travel in arrays may not even grow at their end.
TEST(Check, FrozenStructsMustBeTheSame) {
  EXPECT_EQ(layout_refusal([](Fields& f) {
              f.push_back({"swy_value.u", "uint64_t", sizeof(swy_value), 8});
            }),
            "swy_value.u: the plugin has it (offset 24, size 8, type uint64_t), the host does not");
  EXPECT_EQ(layout_refusal([](Fields& f) { f.erase(at(f, "swy_value.s")); }),
            "swy_value.s: the host has it (offset 16, size 8, type const char *), the plugin does not");
  EXPECT_EQ(layout_refusal([](Fields& f) { at(f, "swy_value")->size = 32; }),
            "swy_value: plugin has offset 0, size 32, type struct; host has offset 0, size 24, type struct");
}

// What an older plugin's structs are too short for reads as zero, although other bytes follow them in memory; what a
// newer one's have more is cut off.
TEST(Check, TablesAreCopiedAsFarAsBothSidesKnow) {
  Tables t;
  t.router.update = [](void*, swy_exec*, int32_t, const swy_state*, const swy_load*) -> swy_status { return SWY_OK; };
  t.router.struct_size = offsetof(swy_router, update);  // `update` is garbage to a host that looks further
  const auto shorter = check_plugin(t.plugin, "p.so");
  EXPECT_NE(shorter->plugin.routers[0], &t.router);
  EXPECT_EQ(shorter->plugin.routers[0]->forward, t.router.forward);
  EXPECT_EQ(shorter->plugin.routers[0]->update, nullptr);
  struct {
    swy_router known;
    uint64_t more;
  } longer = {t.router, 7};
  longer.known.struct_size = sizeof longer;
  t.routers[0] = &longer.known;
  EXPECT_EQ(check_plugin(t.plugin, "p.so")->plugin.routers[0]->struct_size, sizeof(swy_router));
}

std::string needs_refusal(const std::function<void(swy_needs&, swy_tensor_spec&, swy_quantity&)>& spoil) {
  const Tables tables;
  swy_tensor_spec spec = {"gate", {8, 4, 1, 1}, 2, SWY_F32, SWY_PARAM, SWY_INIT_NORMAL, 0.02f, 1.0f, 0, 0};
  swy_quantity aux = {"balance", "1", "load balance", 0, 1, 0.01};
  swy_needs wanted = {};
  wanted.struct_size = sizeof wanted;
  wanted.plan_kind = SWY_ASSIGN;
  wanted.max_assign = 16;
  wanted.tensors = &spec;
  wanted.n_tensors = 1;
  wanted.aux = &aux;
  wanted.n_aux = 1;
  spoil(wanted, spec, aux);
  try {
    check_needs(tables.router, wanted, 3);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, Kind::kEnvironment);
    return error.what();
  }
  return "accepted";
}

// Sensible needs pass; one member out of range at a time is named with router and site.
TEST(CheckNeeds, NamesTheFieldOutOfRange) {
  using N = swy_needs;
  using S = swy_tensor_spec;
  using Q = swy_quantity;
  const std::string start = "router 'r', site 3: swy_needs.", gate = start + "tensors[0] ('gate').";
  EXPECT_EQ(needs_refusal([](N&, S&, Q&) {}), "accepted");
  EXPECT_EQ(needs_refusal([](N& n, S&, Q&) { n.plan_kind = 3; }), start + "plan_kind is 3, outside [0, 2]");
  EXPECT_EQ(needs_refusal([](N& n, S&, Q&) { n.row_kind = -1; }), start + "row_kind is -1, outside [0, 4]");
  EXPECT_EQ(needs_refusal([](N& n, S&, Q&) { n.max_assign = 0; }), start + "max_assign is 0, outside [1, 2147483647]");
  EXPECT_EQ(needs_refusal([](N& n, S&, Q&) { n.plan_kind = SWY_DENSE; }),
            start + "slots is 0, outside [1, 2147483647]");
  EXPECT_EQ(needs_refusal([](N& n, S&, Q&) { n.inputs = 128; }),
            start + "inputs has the bits 128, which this host does not know");
  EXPECT_EQ(needs_refusal([](N& n, S&, Q&) { n.tensors = nullptr; }), start + "tensors is NULL but n_tensors is 1");
  EXPECT_EQ(needs_refusal([](N&, S& s, Q&) { s.rank = 5; }), gate + "rank is 5, outside [1, 4]");
  EXPECT_EQ(needs_refusal([](N&, S& s, Q&) { s.shape[2] = 0; }), gate + "shape[2] is 0, outside [1, 1]");
  EXPECT_EQ(needs_refusal([](N&, S& s, Q&) { s.init_scale = NAN; }), gate + "init_scale is not finite");
  EXPECT_EQ(needs_refusal([](N& n, S&, Q&) { n.aux = nullptr; }), start + "aux is NULL but n_aux is 1");
  EXPECT_EQ(needs_refusal([](N&, S&, Q& q) { q.name = nullptr; }), start + "aux[0].name is missing");
  EXPECT_EQ(needs_refusal([](N&, S&, Q& q) { q.weight = INFINITY; }),
            start + "aux[0] ('balance').weight is not finite");
}

}  // namespace
}  // namespace swy
