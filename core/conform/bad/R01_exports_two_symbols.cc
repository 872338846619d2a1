// Breaks R01: a second symbol with default visibility, and no version script to hide it.
#include "core/conform/bad/good.h"

extern "C" __attribute__((visibility("default"))) const int exported_by_mistake = 1;

EXPORT_ROUTER(good::router())
