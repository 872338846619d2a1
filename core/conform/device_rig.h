// The calls of a Rig on a CUDA device. Every array that the rig's calls point at has a twin in one block of device
// memory, between red zones; what the host wrote goes up, the calls run there, what they wrote comes back into the rig,
// where cases look at it. Twins keep their place, so a recorded call can be replayed on what was uploaded since.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/conform/rig.h"
#include "core/device/arena.h"
#include "core/device/device.h"

namespace swy::conform {

class DeviceRig {
 public:
  // `rig` outlives this, and its shape stays. The router's instance is another one than the rig's. Throws Error as
  // Rig does, DeviceError without a device. Scratch, saved memory and plan start as NaN.
  explicit DeviceRig(Rig& rig);
  ~DeviceRig();

  // Copy and wait. Inputs, tensors and their gradients, dx, the plan's gradient and the load go up; plan, tensors,
  // their gradients and dx come down.
  void upload(const PlanGrad&, const std::vector<int32_t>& kept);
  void download();
  // Enqueue, with phase, step, seed and progress as the rig has them now.
  void forward();
  void backward();
  void update();
  void wait() const { stream_.wait(); }
  // What body() enqueues, to be replayed.
  DeviceGraph record(const std::function<void()>& body) { return DeviceGraph(stream_, body); }
  void replay(const DeviceGraph& graph) { graph.launch(stream_); }
  std::string overrun() const { return arena_.overrun(); }  // waits

 private:
  struct Call;
  class Experts;
  // The structs of a call as they stand now, on the host or with the twins in place.
  Call on_host();
  Call on_device();
  template <class Visit>
  void each_array(Call&, const Visit&);

  Rig& rig_;
  Instance instance_;
  Stream stream_;
  Arena arena_{0};
  std::vector<int> spans_;  // of each array, in the order of each_array
  std::unique_ptr<Experts> experts_;
  Tally tally_;
  Exec exec_{&tally_};
  PlanGrad dplan_;
  std::vector<int32_t> kept_, dropped_;
};

}  // namespace swy::conform
