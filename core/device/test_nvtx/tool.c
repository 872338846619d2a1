/* What a profiler is to NVTX: a library that it loads and that takes its calls. This one writes the ranges of a thread
 * down, "(" name at a push and ")" at a pop. */
#include <nvtx3/nvToolsExt.h>
#include <string.h>

static char record[4096];

static void append(const char *text) {
  const size_t used = strlen(record), more = strlen(text);
  if (used + more < sizeof record) memcpy(record + used, text, more + 1);
}
void test_forget(void) { record[0] = 0; }
const char *test_record(void) { return record; }

static int push(const char *name) {
  append("("), append(name);
  return 0;
}
static int pop(void) {
  append(")");
  return 0;
}

int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t table_of) {
  const NvtxExportTableCallbacks *table = table_of(NVTX_ETID_CALLBACKS);
  NvtxFunctionTable functions;
  unsigned size;
  if (!table || !table->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &functions, &size)) return 0;
  *functions[NVTX_CBID_CORE_RangePushA] = (NvtxFunctionPointer)push;
  *functions[NVTX_CBID_CORE_RangePop] = (NvtxFunctionPointer)pop;
  return 1;
}
