// What all commands share: options of every command that opens a model, exit codes, numbers as text, progress bars,
// files that are replaced as a whole, and Ctrl-C.
#ifndef INLAY_EXAMPLES_CLI_COMMON_HPP_
#define INLAY_EXAMPLES_CLI_COMMON_HPP_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/config/model_config.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/formats/kv_type.hpp"

namespace cli {

struct ModelOptions {
  std::string path;
  std::string tokenizer;      // llama2.c's tokenizer.bin
  std::string cpu;            // level to use instead of the best: see UseCpu
  std::size_t threads = 0;    // 0: every CPU this process may use
  std::size_t context = 0;    // 0: see DefaultContext
  inlay::KvType kv = inlay::KvType::kF32;
  bool verify = false;
  std::vector<std::string> loras;            // adapters as FILE or FILE=SCALE
  std::vector<std::string> control_vectors;  // the same
};

// The trained context, but no more than this: what a long-context model would take is for the user to ask for.
inline constexpr std::size_t kMostDefaultContext = 4096;
std::size_t DefaultContext(const inlay::ModelConfig& config, std::size_t asked);

// Threads to work with: the ones asked for, or all there are.
std::size_t ThreadCount(std::size_t asked);

// 2 usage, 3 bad file, 4 not supported, 5 out of memory or context, 130 interrupted.
int ExitCode(inlay::ErrorCode code);

// Writes to standard output, and says when that failed.
inlay::Result<void> WriteOut(std::string_view text);
inlay::Result<void> FlushOut();

// Appends a number with 9 significant digits, which give back the same float32.
void AppendNumber(std::string& text, float value);
// "[1,2.5]"
void AppendNumbers(std::string& text, std::span<const float> values);

// The bytes of a text in base64, with or without padding.
inlay::Result<std::string> DecodeBase64(std::string_view text);
// ASCII letters in lower case.
std::string Lower(std::string text);

// "FILE=SCALE", or "FILE" with a scale of 1. What follows the last "=" and is no number belongs to the name.
struct ScaledFile {
  std::string path;
  float scale = 1.0f;
};
ScaledFile ParseScaledFile(const std::string& text);

// "1,2,3" as token ids.
inlay::Result<std::vector<inlay::TokenId>> ParseTokens(std::string_view text);
inlay::Result<std::string> ReadTextFile(const std::string& path);

using Clock = std::chrono::steady_clock;
double SecondsSince(Clock::time_point start);

// --- Ctrl-C ---

// The first Ctrl-C asks running work to stop in order; the second ends the process.
void CatchInterrupts();
const std::atomic<bool>& Interrupted();

// --- progress ---

// A bar on standard error while long work runs. Shows nothing when standard error is no terminal.
class Progress {
 public:
  explicit Progress(std::string_view label);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // False when the work shall stop: the form in which the library asks.
  bool operator()(std::size_t done, std::size_t total);

 private:
  std::string label_;
  bool shown_;
  bool drawn_ = false;
  Clock::time_point last_;
};

// --- output files ---

// A file that appears under its name only when it is complete: written beside it, flushed to the disk, then renamed. On
// any failure the old file, or none, is there as before.
class OutputFile {
 public:
  static inlay::Result<OutputFile> Create(const std::string& path);
  OutputFile(OutputFile&& other) noexcept;
  OutputFile& operator=(OutputFile&&) = delete;
  ~OutputFile();

  inlay::Result<void> Write(std::span<const std::byte> bytes);
  inlay::Result<void> Commit();

 private:
  OutputFile() = default;

  std::string path_;
  std::string temporary_;
  int descriptor_ = -1;
};

}  // namespace cli

#endif  // INLAY_EXAMPLES_CLI_COMMON_HPP_
