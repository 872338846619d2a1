// Breaks R02: a static object whose constructor asks for the time, which nobody needs before a router runs.
#include <ctime>

#include "core/conform/bad/good.h"

namespace {
struct Started {
  Started() { std::timespec_get(&at, TIME_UTC); }
  timespec at;
};
const Started started;
}  // namespace

EXPORT_ROUTER(good::router())
