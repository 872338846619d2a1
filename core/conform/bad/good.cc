// The control: no case may find anything wrong with it, on a CUDA device neither.
#include "core/conform/bad/good.h"

EXPORT_ROUTER(good::on_devices())
