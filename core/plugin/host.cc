// What the host offers to plugins: a log and the extension tables.
#include <cstdio>
#include <cstring>

#include "core/abi/ops.h"
#include "core/ops/table.h"
#include "core/plugin/loader.h"
#include "core/plugin/site_experts.h"

namespace swy {
namespace {

void log(const swy_host*, int32_t severity, const char* message) {
  const char* tag = severity == SWY_LOG_INFO ? "info" : severity == SWY_LOG_WARNING ? "warning" : "error";
  std::fprintf(stderr, "plugin %s: %s\n", tag, message ? message : "(no text)");
}

const void* extension(const swy_host*, const char* id) {
  if (id && !std::strcmp(id, SWY_OPS_ID)) return &ops::table();
  if (id && !std::strcmp(id, SWY_EXPERTS_ID)) return &experts_table();
  return nullptr;
}

}  // namespace

const swy_host& plugin_host() {
  static const swy_host host = [] {
    swy_host h{};
    h.struct_size = sizeof h, h.abi_minor = SWY_ABI_MINOR;
    h.log = log, h.extension = extension;
    return h;
  }();
  return host;
}

}  // namespace swy
