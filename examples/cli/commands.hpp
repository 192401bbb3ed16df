// The commands: what each takes, and the function that does it. main.cpp turns a command line into one of these calls;
// results go to standard output, everything else to standard error.
#ifndef INLAY_EXAMPLES_CLI_COMMANDS_HPP_
#define INLAY_EXAMPLES_CLI_COMMANDS_HPP_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common.hpp"
#include "inlay/core/result.hpp"
#include "inlay/formats/weight_type.hpp"
#include "inlay/generate/sampler.hpp"

namespace cli {

// --- text.cpp ---

struct RunOptions {
  ModelOptions model;
  std::string prompt;
  std::optional<std::size_t> max_tokens;
  inlay::SamplerOptions sampling;
  bool ignore_end = false;
  bool quiet = false;
};
inlay::Result<void> Run(const RunOptions& options);

struct TokenizeOptions {
  std::string path;
  std::string tokenizer;
};
inlay::Result<void> Tokenize(const TokenizeOptions& options);
inlay::Result<void> Detokenize(const TokenizeOptions& options);

struct RerankOptions {
  ModelOptions model;
  std::string query;
  bool lines = false;  // of text, not of JSON
  bool cut = false;
};
// Scores one document after the other from standard input.
inlay::Result<void> Rerank(const RerankOptions& options);

// --- chat.cpp ---

struct ChatOptions {
  ModelOptions model;
  std::optional<std::string> system;  // none: the default; empty: no system turn
  std::size_t max_tokens = 256;
  inlay::SamplerOptions sampling;
};
// Reads one line after the other from standard input and answers each.
inlay::Result<void> Chat(const ChatOptions& options);

// --- score.cpp ---

struct LogitsOptions {
  ModelOptions model;
  std::string tokens;
  bool all = false;
};
inlay::Result<void> Logits(const LogitsOptions& options);

struct EmbedOptions {
  ModelOptions model;
  std::string tokens;
  std::string pooling;  // empty: the model's own
};
inlay::Result<void> Embed(const EmbedOptions& options);

struct PerplexityOptions {
  ModelOptions model;
  std::string text_path;
};
inlay::Result<void> Perplexity(const PerplexityOptions& options);

// --- inspect.cpp ---

struct DequantOptions {
  std::string path;
  std::string tensor;
  std::size_t rows = 1;
};
inlay::Result<void> Dequant(const DequantOptions& options);

struct InspectOptions {
  std::string path;
  bool json = false;
};
inlay::Result<void> Inspect(const InspectOptions& options);

// --- pack.cpp ---

struct PackOptions {
  ModelOptions model;
  std::string output;
};
inlay::Result<void> Pack(const PackOptions& options);

// --- describe.cpp ---

struct DescribeOptions {
  std::string path;
  std::string name_space;
  std::vector<inlay::KvType> kv;  // empty: the library's choice
  std::string output;  // empty: standard output
};
inlay::Result<void> Describe(const DescribeOptions& options);

// --- quantize.cpp ---

struct QuantizeOptions {
  std::string input;
  std::string output;
  std::string format;
  std::vector<std::string> keep;  // ROLE=FORMAT
  std::size_t threads = 0;
};
inlay::Result<void> Quantize(const QuantizeOptions& options);

// --- bench.cpp ---

struct BenchOptions {
  ModelOptions model;
  std::size_t prompt = 512;
  std::size_t generate = 128;
  std::size_t depth = 0;
  std::size_t repetitions = 3;
  std::size_t batch = 256;
};
inlay::Result<void> Bench(const BenchOptions& options);

// --- synth.cpp ---

struct SynthOptions {
  std::string like;
  std::string format;
  std::string output;
  std::uint64_t seed = 1;
  std::size_t threads = 0;
};
inlay::Result<void> Synth(const SynthOptions& options);

// --- convert.cpp ---

struct ConvertOptions {
  std::string folder;
  std::string output;
  std::string format = "auto";
  std::size_t threads = 0;
};
inlay::Result<void> Convert(const ConvertOptions& options);

// --- merge.cpp; only where there is Eigen ---

struct MergeOptions {
  std::string model;
  std::string adapter;
  std::string output;
  float scale = 1.0f;
  std::size_t threads = 0;
};
inlay::Result<void> Merge(const MergeOptions& options);

}  // namespace cli

#endif  // INLAY_EXAMPLES_CLI_COMMANDS_HPP_
