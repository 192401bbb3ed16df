#include "common.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

#include "inlay/core/macros.hpp"
#include "inlay/core/status.hpp"
#include "inlay/core/thread_pool.hpp"
#include "inlay/files/mapped_file.hpp"

namespace cli {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::Result;

std::size_t DefaultContext(const inlay::ModelConfig& config, std::size_t asked) {
  return asked != 0 ? asked : std::min<std::size_t>(config.context, kMostDefaultContext);
}

std::size_t ThreadCount(std::size_t asked) { return asked != 0 ? asked : inlay::AvailableCpus(); }

int ExitCode(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return 2;
    case ErrorCode::kBadFile:
    case ErrorCode::kTruncated:
    case ErrorCode::kMissing:
    case ErrorCode::kMismatch:
    case ErrorCode::kTooLarge:
    case ErrorCode::kNonFinite:
    case ErrorCode::kSystem: return 3;
    case ErrorCode::kUnsupported: return 4;
    case ErrorCode::kOutOfMemory:
    case ErrorCode::kContextFull: return 5;
    case ErrorCode::kCancelled: return 130;
  }
  return 3;
}

Result<void> WriteOut(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size()) return {};
  return Fail(ErrorCode::kSystem, "standard output", "cannot be written");
}

Result<void> FlushOut() {
  if (std::fflush(stdout) == 0) return {};
  return Fail(ErrorCode::kSystem, "standard output", "cannot be written");
}

void AppendNumber(std::string& text, float value) {
  char digits[32];
  const std::to_chars_result end = std::to_chars(digits, digits + sizeof(digits), value, std::chars_format::general, 9);
  text.append(digits, end.ptr);
}

void AppendNumbers(std::string& text, std::span<const float> values) {
  text += '[';
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i != 0) text += ',';
    AppendNumber(text, values[i]);
  }
  text += ']';
}

Result<std::string> DecodeBase64(std::string_view text) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const std::size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return Fail(ErrorCode::kInvalidArgument, "text_base64", "is not base64");
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count & 255);
  }
  return bytes;
}

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return text;
}

ScaledFile ParseScaledFile(const std::string& text) {
  const std::size_t at = text.rfind('=');
  if (at == std::string::npos) return {text};
  ScaledFile file{text.substr(0, at)};
  const char* const end = text.data() + text.size();
  const std::from_chars_result parsed = std::from_chars(text.data() + at + 1, end, file.scale);
  if (parsed.ec != std::errc() || parsed.ptr != end) return {text};
  return file;
}

Result<std::vector<inlay::TokenId>> ParseTokens(std::string_view text) {
  std::vector<inlay::TokenId> tokens;
  const char* at = text.data();
  const char* const end = at + text.size();
  for (;;) {
    while (at != end && *at == ' ') ++at;
    inlay::TokenId token = 0;
    const std::from_chars_result parsed = std::from_chars(at, end, token);
    if (parsed.ec != std::errc()) {
      return Fail(ErrorCode::kInvalidArgument, "--tokens", "must be ids separated by commas, as 1,2,3");
    }
    tokens.push_back(token);
    at = parsed.ptr;
    while (at != end && *at == ' ') ++at;
    if (at == end) return tokens;
    if (*at++ != ',') return Fail(ErrorCode::kInvalidArgument, "--tokens", "must be ids separated by commas, as 1,2,3");
  }
}

Result<std::string> ReadTextFile(const std::string& path) {
  INLAY_ASSIGN_OR_RETURN(const inlay::MappedFile file, inlay::MappedFile::Open(path.c_str()));
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// --- Ctrl-C ---

namespace {
std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);
}  // namespace

void CatchInterrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted.store(true, std::memory_order_relaxed); };
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
}

const std::atomic<bool>& Interrupted() { return interrupted; }

// --- progress ---

Progress::Progress(std::string_view label) : label_(label), shown_(isatty(STDERR_FILENO) == 1), last_(Clock::now()) {}

Progress::~Progress() {
  if (drawn_) std::fputs("\r\033[K", stderr);
}

bool Progress::operator()(std::size_t done, std::size_t total) {
  // Work that takes no time gets no bar.
  if (shown_ && total != 0 && SecondsSince(last_) > 0.1) {
    constexpr std::size_t kWidth = 40;
    const std::size_t filled = static_cast<std::size_t>(static_cast<double>(done) / static_cast<double>(total) * kWidth);
    std::string bar = "\r" + label_ + " [";
    for (std::size_t i = 0; i < kWidth; ++i) bar += i < filled ? '#' : '.';
    const double percent = 100.0 * static_cast<double>(done) / static_cast<double>(total);
    std::fprintf(stderr, "%s] %3.0f%%\033[K", bar.c_str(), percent);
    std::fflush(stderr);
    last_ = Clock::now();
    drawn_ = true;
  }
  return !interrupted.load(std::memory_order_relaxed);
}

// --- output files ---

Result<OutputFile> OutputFile::Create(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    return Fail(ErrorCode::kSystem, path, "exists and is not a regular file");
  }
  OutputFile file;
  file.path_ = path;
  file.temporary_ = path + ".partial." + std::to_string(::getpid());
  file.descriptor_ = ::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file.descriptor_ < 0) return Fail(ErrorCode::kSystem, path, "cannot be created: ", std::strerror(errno));
  return file;
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

OutputFile::~OutputFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

Result<void> OutputFile::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(descriptor_, bytes.data(), std::min(bytes.size(), std::size_t{1} << 30));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Fail(ErrorCode::kSystem, path_, "cannot be written: ", std::strerror(errno));
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

Result<void> OutputFile::Commit() {
  const auto failed = [&] { return Fail(ErrorCode::kSystem, path_, "cannot be completed: ", std::strerror(errno)); };
  if (::fsync(descriptor_) != 0) return failed();
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return failed();
  ::close(std::exchange(descriptor_, -1));
  return {};
}

}  // namespace cli
