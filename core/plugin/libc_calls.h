// A look at calls into the C library: this program defines malloc, operator new and a few functions that wait or do
// input and output, hands each call on, and first tells a listener which function it was and who called. It is how the
// host finds a plugin that allocates or waits in a step (rule R07). Without a listener a call costs one load.
//
// Under an address or thread sanitizer, which replaces the same functions, nothing is seen.
#pragma once

namespace swy {

// `caller` is the return address, inside the module that called. Called on any thread; must not allocate.
using LibcListener = void (*)(const char* function, const void* caller);

// The one listener, or null for none. Returns the one before it.
LibcListener listen_to_libc(LibcListener);
// False where calls cannot be seen.
bool libc_calls_are_seen();

}  // namespace swy
