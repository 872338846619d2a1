#include "data/download.h"

#include <curl/curl.h>

#include <memory>
#include <string>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "data/part_file.h"

namespace swy::data {
namespace fs = std::filesystem;
namespace {

struct Transfer {
  PartFile& part;
  const FetchProgress& progress;
  std::string name;
  int64_t bytes;  // expected in all
  bool too_long = false, stopped = false;
  std::string write_failure;  // C callbacks of curl must not throw
};

size_t on_data(char* data, size_t, size_t count, void* user) {
  Transfer& t = *static_cast<Transfer*>(user);
  if (t.part.size() + static_cast<int64_t>(count) > t.bytes) {
    t.too_long = true;
    return 0;
  }
  try {
    t.part.write(data, count);
  } catch (const Error& e) {
    t.write_failure = e.what();
    return 0;
  }
  return count;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  Transfer& t = *static_cast<Transfer*>(user);
  t.stopped = t.progress && !t.progress(t.name, t.part.size(), t.bytes);
  return t.stopped ? 1 : 0;
}

struct Outcome {
  CURLcode code;
  std::string reason;
};

Outcome perform(const std::string& url, Transfer& transfer) {
  static const CURLcode global = curl_global_init(CURL_GLOBAL_DEFAULT);
  std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
  if (global != CURLE_OK || !curl) environment_error("cannot start libcurl; check its installation");
  char reason[CURL_ERROR_SIZE] = "";
  CURL* c = curl.get();
  curl_easy_setopt(c, CURLOPT_URL, url.c_str());
  curl_easy_setopt(c, CURLOPT_ERRORBUFFER, reason);
  curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 30L);
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);  // no byte for a minute: give up, the .part stays
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, 60L);
  curl_easy_setopt(c, CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(transfer.part.size()));
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(c, CURLOPT_XFERINFODATA, &transfer);
  const CURLcode code = curl_easy_perform(c);
  return {code, reason[0] ? std::string(reason) : std::string(curl_easy_strerror(code))};
}

// One attempt. False: what an earlier attempt left is of no use (the .part is gone), begin again.
bool attempt(const std::string& url, const fs::path& path, int64_t bytes, const std::string& sha256,
             const FetchProgress& progress) {
  PartFile part(path, /*keep=*/true);
  const int64_t resumed_at = part.size();
  Transfer transfer{part, progress, path.filename().string(), bytes, false, false, {}};
  const Outcome outcome = resumed_at < bytes ? perform(url, transfer) : Outcome{CURLE_OK, ""};
  if (transfer.stopped) {
    environment_error("download of '", path.filename().string(), "' stopped after ", part.size(), " of ", bytes,
                      " bytes; run the same command again to go on");
  }
  if (!transfer.write_failure.empty()) throw Error(Kind::kEnvironment, transfer.write_failure);
  const bool refused_resume = resumed_at > 0 && part.size() == resumed_at && outcome.code != CURLE_OK &&
                              (outcome.code == CURLE_RANGE_ERROR || outcome.code == CURLE_BAD_DOWNLOAD_RESUME ||
                               outcome.code == CURLE_HTTP_RETURNED_ERROR);
  if (outcome.code != CURLE_OK && !transfer.too_long && !refused_resume) {
    environment_error("cannot download '", url, "': ", outcome.reason,
                      "; check the network, or give a directory or mirror with --from");
  }
  if (outcome.code == CURLE_OK && part.size() < bytes) {
    environment_error("download of '", url, "' ended after ", part.size(), " of ", bytes,
                      " bytes; run the same command again to go on");
  }
  if (!transfer.too_long && !refused_resume && part.size() == bytes) {
    const std::string got = sha256_file(PartFile::part_of(path));
    if (got == sha256) {
      part.commit();
      return true;
    }
    part.discard();
    if (resumed_at > 0) return false;
    environment_error("'", url, "' has SHA-256 ", got, ", ", sha256,
                      " expected; the copy there is damaged or another version: nothing was kept, try another source");
  }
  part.discard();
  if (resumed_at > 0) return false;
  environment_error("'", url, "' is longer than the ", bytes,
                    " bytes of the manifest; it is another version: nothing was kept, try another source");
}

}  // namespace

void download(const std::string& url, const fs::path& path, int64_t bytes, const std::string& sha256,
              const FetchProgress& progress) {
  // A second attempt starts without .part, so it either succeeds or throws.
  if (!attempt(url, path, bytes, sha256, progress)) attempt(url, path, bytes, sha256, progress);
}

}  // namespace swy::data
