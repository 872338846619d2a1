/* A shared library that breaks one rule on its file per build (-D<VARIANT>, see core/conform/CMakeLists.txt). Nobody
 * calls it: what the file itself says, and what happens when it is loaded, is all that is looked at. */
#include <stddef.h>
#include <stdlib.h>

#include "core/abi/router.h"

#define EXPORTED __attribute__((visibility("default")))

EXPORTED const swy_plugin* swy_plugin_v1(void) { return NULL; }

#ifdef TWO_SYMBOLS
EXPORTED int another_symbol = 1;
#endif

#ifdef HOST_SYMBOL /* found at run time, because the host needs the library that has it */
extern int omp_get_max_threads(void);
static int threads(void) { return omp_get_max_threads(); }
int (*volatile use)(void) __attribute__((visibility("hidden"))) = threads;
#endif

#ifdef CONSTRUCTOR
__attribute__((constructor)) static void at_load(void) { abort(); }
#endif

#ifdef DESTRUCTOR
static volatile int ended;
__attribute__((destructor)) static void at_end(void) { ended = 1; }
#endif

#ifdef OWN_INIT /* linked with -Wl,-init=own_init */
static volatile int begun;
void own_init(void);
void own_init(void) { begun = 1; }
#endif
