// The control: no case may find anything wrong with it.
#include "core/conform/bad/good.h"

EXPORT_ROUTER(good::router())
