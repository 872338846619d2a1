// Struct ends (R24): a plugin neither minds nor touches what lies behind the fields it knows. Every growable struct of
// every call is given twice over: longer than this header's, with garbage in the unknown tail, and as short as this
// header's but with memory behind it that may not be touched at all.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <deque>

#include "core/conform/case.h"
#include "core/conform/rig.h"
#include "core/plugin/loader.h"

namespace swy::conform {
namespace {

enum class End { kLonger, kAtTheEdge };
constexpr uint32_t kTail = 64;  // bytes that this header does not know

// A copy of a struct with its end arranged; lives until the case ends, which is when its process does.
template <class T>
T* arranged(const T& from, End end) {
  static std::deque<std::vector<uint64_t>> kept;
  if (end == End::kLonger) {
    std::vector<uint64_t>& room = kept.emplace_back((sizeof(T) + kTail) / 8 + 1, 0xA5A5A5A5A5A5A5A5u);
    T* copy = reinterpret_cast<T*>(room.data());
    std::memcpy(static_cast<void*>(copy), &from, sizeof(T));
    copy->struct_size = sizeof(T) + kTail;
    return copy;
  }
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  auto* two =
      static_cast<uint8_t*>(mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (two == MAP_FAILED || mprotect(two + page, page, PROT_NONE)) environment_error("cannot protect a page of memory");
  T* copy = reinterpret_cast<T*>(two + page - sizeof(T));
  std::memcpy(static_cast<void*>(copy), &from, sizeof(T));
  copy->struct_size = sizeof(T);
  return copy;
}

// The tail that the plugin must not have touched.
template <class T>
void expect_tail(const T* grown, const char* name) {
  const auto* tail = reinterpret_cast<const uint8_t*>(grown) + sizeof(T);
  for (uint32_t i = 0; i < kTail; ++i)
    if (tail[i] != 0xA5) broken("R24", "it writes behind the end of ", name);
}

// create, needs, forward and backward on structs that end as told. The rig gives memory and contents.
class RawCalls {
 public:
  RawCalls(const Subject& s, const CaseContext& c, End end)
      : router_(*s.router),
        end_(end),
        kind_(site_kind_of(router_)),
        rig_(router_, {{}, ragged_shape(kind_), kind_, c.seed}) {}

  Plan run() {
    swy_exec setup{};
    setup.struct_size = sizeof setup, setup.device = SWY_CPU;
    swy_exec* e = with_error(setup);
    const std::vector<swy_value> options = parse_options(router_, {});
    void* self = nullptr;
    ok("create", router_.create(arranged(plugin_host(), end_), options.data(), 1, &self, e));
    swy_needs empty{};
    empty.struct_size = sizeof empty;
    swy_needs* needs = arranged(empty, end_);
    if (end_ == End::kLonger) needs->struct_size = sizeof(swy_needs) + kTail;
    ok("needs", router_.needs(self, arranged(rig_.site(), end_), needs, e));
    swy_cost none{};
    none.struct_size = sizeof none;
    swy_cost* cost = arranged(none, end_);
    swy_exec counting = rig_.exec(0);
    ok("cost", router_.cost(self, arranged(rig_.site(), end_), cost, with_error(counting)));

    swy_plan* plan = arranged(rig_.plan_memory(), end_);
    const swy_batch* batch = arranged(rig_.batch(), end_);
    const swy_state* state = arranged(rig_.state(), end_);
    ok("forward", router_.forward(self, with_error(rig_.exec(rig_.needs().scratch_forward)), batch, state, plan));
    const Plan made = rig_.plan();
    if (router_.backward) {
      const swy_plan_grad d = rig_.grad_memory(constant_grad(made, 1));
      const DrawnShape& shape = rig_.setting().shape;
      swy_tensor to[2] = {{rig_.dx.data(), {shape.tokens(), shape.width, 1, 1}, 2, SWY_F32},
                          {rig_.dresidual.data(), {shape.tokens(), shape.width, 1, 1}, 2, SWY_F32}};
      ok("backward", router_.backward(self, with_error(rig_.exec(rig_.needs().scratch_backward)), batch, state, plan,
                                      arranged(d, end_), to));
    }
    if (end_ == End::kLonger)
      expect_tail(needs, "swy_needs"), expect_tail(cost, "swy_cost"), expect_tail(plan, "swy_plan");
    router_.destroy(self);
    return made;
  }
  const std::vector<float>& dx() const { return rig_.dx; }

 private:
  swy_exec* with_error(swy_exec e) {
    error_[0] = 0;
    e.error = error_, e.error_cap = sizeof error_;
    return arranged(e, end_);
  }
  void ok(const char* call, swy_status status) const {
    if (status != SWY_OK) broken("R24", call, " fails with status ", status, ": ", error_);
  }
  const swy_router& router_;
  const End end_;
  const int32_t kind_;
  Rig rig_;
  char error_[512] = {};
};

void compare(const Subject& s, const CaseContext& c, End end, const char* how) {
  const int32_t kind = site_kind_of(*s.router);
  needs_repetition(*s.router, {{}, ragged_shape(kind), kind, c.seed});
  Rig rig(*s.router, {{}, ragged_shape(kind), kind, c.seed});
  rig.forward();
  const Plan usual = rig.plan(), plan = RawCalls(s, c, end).run();
  if (const std::string text = usual.difference(plan, 1e-5); !text.empty())
    broken("R24", "its plan changes when structs ", how, ": ", text);
}

void longer(const Subject& s, const CaseContext& c) { compare(s, c, End::kLonger, "are longer than it knows"); }
void at_the_edge(const Subject& s, const CaseContext& c) {
  compare(s, c, End::kAtTheEdge, "end where this header's do");
}

}  // namespace

std::vector<Case> abi_cases() {
  return {{"abi.longer", "abi", "R24",
           "Structs longer than the plugin knows change nothing, and their tail stays untouched.", longer},
          {"abi.edge", "abi", "R24", "The plugin touches nothing behind the structs of this header.", at_the_edge}};
}

}  // namespace swy::conform
