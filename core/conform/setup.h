// One instance of a router by raw setup calls, for cases that want to see how a call fails: exceptions are caught at
// the call (R05), a status without a reason is noticed (R06), and a refusal with a reason is an answer, not an error.
#pragma once
#include <string>
#include <vector>

#include "core/conform/case.h"
#include "core/plugin/instance.h"

namespace swy::conform {

// A call's answer: empty when it was SWY_OK, else the reason it gave.
struct Answer {
  std::string refusal;
  bool ok() const { return refusal.empty(); }
};

class Setup {
 public:
  // `where` is added to every complaint: "with k = 64". Calls create.
  Setup(const swy_router&, const OptionText& options, const std::string& where);
  ~Setup();  // calls destroy, unless that was done
  Setup(const Setup&) = delete;
  Setup& operator=(const Setup&) = delete;

  const Answer& created() const { return created_; }
  // REQUIRES: created().ok(). What is answered is checked as the host checks it.
  Answer needs(const swy_site&, swy_needs&);
  Answer cost(const swy_site&, swy_cost&);
  void destroy();

 private:
  template <class Call>
  Answer ask(const char* name, const Call& call) const;
  const swy_router& router_;
  const std::string where_;
  swy_host host_;
  std::vector<swy_value> values_;
  void* self_ = nullptr;
  Answer created_;
};

}  // namespace swy::conform
