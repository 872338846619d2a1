/* Prints layout.golden from the header as this compiler sees it:
 * `<build>/core/abi/layout_print > core/abi/layout.golden` after a change (see RULES.md, "Changing the ABI"). */
#include <stdio.h>

#include "core/abi/layout.h"

int main(void) {
  for (uint32_t i = 0; i < SWY_N_LAYOUT; ++i) {
    const swy_field* f = &swy_layout[i];
    printf("%-28s %4u %4u  %s\n", f->name, (unsigned)f->offset, (unsigned)f->size, f->type);
  }
  return 0;
}
