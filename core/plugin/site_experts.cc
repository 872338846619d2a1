#include "core/plugin/site_experts.h"

#include <cstdio>
#include <exception>

namespace swy {
namespace {

// Runs `body` on the experts of the call. A dry run counts nothing: it is about the router alone.
template <class Body>
swy_status run(const swy_exec* e, Body&& body) {
  const auto refuse = [&](swy_status status, const char* reason) {
    if (e->error && e->error_cap) std::snprintf(e->error, e->error_cap, "swy.experts/1: %s", reason);
    return status;
  };
  if (!e || !e->ctx) return SWY_INVALID;
  if (e->flags & SWY_EXEC_DRY) return SWY_OK;
  const Exec& ex = *static_cast<const Exec*>(e->ctx);
  if (!ex.experts) return refuse(SWY_UNSUPPORTED, "this site does not let its router run experts");
  try {
    body(*ex.experts, ex);
    return SWY_OK;
  } catch (const std::exception& error) {
    return refuse(SWY_INVALID, error.what());
  }
}

}  // namespace

const swy_experts& experts_table() {
  static const swy_experts table = [] {
    swy_experts t{};
    t.struct_size = sizeof t;
    t.forward = [](const swy_exec* e, int32_t call, int64_t n, const int32_t* index, const float* x, float* y) {
      return run(e, [&](SiteExperts& s, const Exec& ex) { s.forward(ex, call, n, index, x, y); });
    };
    t.backward = [](const swy_exec* e, int32_t call, int64_t n, const float* dy, float* dx) {
      return run(e, [&](SiteExperts& s, const Exec& ex) { s.backward(ex, call, n, dy, dx); });
    };
    return t;
  }();
  return table;
}

}  // namespace swy
