/* A library with NVML's calls and readings that a test sets: what a driver would say, on a machine without one. */
static unsigned mhz = 1980;
static unsigned long long reasons = 0x1, millijoules = 5000;
static int users = 0;

void test_set(unsigned clock, unsigned long long why, unsigned long long energy) {
  mhz = clock, reasons = why, millijoules = energy;
}
int test_users(void) { return users; }

int nvmlInit_v2(void) { return ++users, 0; }
int nvmlShutdown(void) { return --users, 0; }
const char *nvmlErrorString(int status) { return status == 6 ? "Not Found" : "Unknown Error"; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device) {
  *device = &mhz;
  return id[0] == '0' ? 0 : 6;
}
int nvmlDeviceGetClockInfo(void *device, int type, unsigned *value) {
  *value = type == 1 ? *(unsigned *)device : 1;
  return 0;
}
int nvmlDeviceGetMaxClockInfo(void *device, int type, unsigned *value) {
  (void)device;
  *value = type == 1 ? 1980 : 1;
  return 0;
}
int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *value) {
  (void)device;
  *value = reasons;
  return 0;
}
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *value) {
  (void)device;
  *value = sensor == 0 ? 61 : 0;
  return 0;
}
int nvmlDeviceGetPowerUsage(void *device, unsigned *value) {
  (void)device;
  *value = 655500;
  return 0;
}
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *value) {
  (void)device;
  *value = millijoules;
  return millijoules == 0 ? 3 : 0; /* not supported */
}
