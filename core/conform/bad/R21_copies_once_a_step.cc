// Breaks R21: keeps a copy of its gate on the device, made by the first forward of each step. Every call is right, and
// so is a recording of the first; one of a later forward lacks the copy, and its replay routes by the weights of
// before.
#include "core/conform/bad/good.h"

namespace {

struct Self {
  good::Self inner;  // first: the callbacks of good.h take this for theirs
  int64_t copied = -1;
};

swy_status create(const swy_host* host, const swy_value* options, int32_t n_sites, void** self, swy_exec* e) {
  void* inner = nullptr;
  const swy_status status = good::create(host, options, n_sites, &inner, e);
  if (status != SWY_OK) return status;
  auto* made = static_cast<good::Self*>(inner);
  *self = new Self{*made};
  delete made;
  return SWY_OK;
}
void destroy(void* self) {
  delete[] static_cast<Self*>(self)->inner.gates;
  delete static_cast<Self*>(self);
}

swy_status needs(void* self, const swy_site* site, swy_needs* out, swy_exec* e) {
  const swy_status status = good::needs(self, site, out, e);
  out->saved += static_cast<uint64_t>(site->d_model) * site->n_experts * sizeof(float);  // the copy, at the end
  return status;
}

swy_status forward(void* self, swy_exec* e, const swy_batch* b, const swy_state* state, swy_plan* plan) {
  Self& s = *static_cast<Self*>(self);
  if (e->device != SWY_CUDA) return good::forward(self, e, b, state, plan);
  const int64_t size = b->x.shape[1] * good::choices(s.inner, b->n_experts);
  swy_tensor gate = state->param[0];
  auto* copy = static_cast<char*>(e->saved) + e->saved_bytes - static_cast<uint64_t>(size) * sizeof(float);
  if (s.copied != e->step) {
    const swy_status status =
        s.inner.op->axpby(e, size, 1, static_cast<const float*>(gate.data), 0, reinterpret_cast<float*>(copy));
    if (status != SWY_OK) return status;
    s.copied = e->step;
  }
  gate.data = copy;
  swy_state with_copy = *state;
  with_copy.param = &gate;
  return good::forward(self, e, b, &with_copy, plan);
}

constexpr swy_router made() {
  swy_router r = good::on_devices();
  r.create = create, r.destroy = destroy, r.needs = needs, r.forward = forward;
  return r;
}

}  // namespace

EXPORT_ROUTER(made())
