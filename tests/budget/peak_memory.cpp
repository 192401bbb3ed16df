// The memory that a run really takes: writes the packed file of a random model, or generates text from one until its
// context is full, and compares the peak of the process with what the plans said beforehand. A program of its own, because a
// peak cannot be reset, and linked statically, because pages of shared libraries count as its memory too.
//
//   inlay_peak_memory --write model.gguf
//   inlay_peak_memory model.gguf [BYTES]     BYTES more than planned are used, to show that the check can fail
#include <array>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>

#include "inlay/config/known_models.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/core/thread_pool.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/mapped_file.hpp"
#include "inlay/generate/generation.hpp"
#include "inlay/generate/session.hpp"
#include "inlay/model/model.hpp"
#include "inlay/text/tokenizer.hpp"
#include "inlay/weights/packed_file.hpp"
#include "tests/support/packed_model.hpp"
#include "tests/support/random_model.hpp"

namespace {

// Code, the C library, stacks of threads, and the pages of the file that hold its metadata.
constexpr std::size_t kSlack = std::size_t{2} << 20;
constexpr std::size_t kThreads = 2;

using Llm = inlay::Model<inlay::kStories15M, inlay::Formats<inlay::WeightType::kQ8_0>>;

// The largest resident set so far. getrusage would count what the process that started this one had before.
std::size_t PeakBytes() {
  std::FILE* file = std::fopen("/proc/self/status", "r");
  if (file == nullptr) return 0;
  char line[256];
  std::size_t kibibytes = 0;
  while (std::fgets(line, sizeof(line), file) != nullptr) {
    if (std::strncmp(line, "VmHWM:", 6) == 0) kibibytes = std::strtoull(line + 6, nullptr, 10);
  }
  std::fclose(file);
  return kibibytes * 1024;
}

// Buffers of exactly the bytes asked for, which are added up.
class PlannedMemory {
 public:
  inlay::Result<std::span<std::byte>> Take(std::size_t bytes) {
    INLAY_ASSIGN_OR_RETURN(buffers_.at(count_), inlay::OwnedBuffer::Create(bytes));
    planned_ += bytes;
    return buffers_[count_++].bytes();
  }
  inlay::Result<inlay::Arena> TakeArena(std::size_t bytes) {
    INLAY_ASSIGN_OR_RETURN(const std::span<std::byte> memory, Take(bytes));
    return inlay::Arena::Create(memory);
  }
  std::size_t planned() const { return planned_; }

 private:
  std::array<inlay::OwnedBuffer, 8> buffers_;
  std::size_t count_ = 0;
  std::size_t planned_ = 0;
};

// Returns the bytes that the plans gave, weights included. Uses `unplanned` bytes more.
inlay::Result<std::size_t> Run(const char* path, std::size_t unplanned) {
  INLAY_ASSIGN_OR_RETURN(inlay::OwnedBuffer more, inlay::OwnedBuffer::Create(unplanned));
  if (unplanned != 0) std::memset(more.bytes().data(), 1, unplanned);
  PlannedMemory memory;
  INLAY_ASSIGN_OR_RETURN(const inlay::MappedFile mapping, inlay::MappedFile::Open(path));
  INLAY_ASSIGN_OR_RETURN(inlay::Arena index, memory.TakeArena(inlay::GgufFile::IndexBytes(mapping.bytes())));
  INLAY_ASSIGN_OR_RETURN(const inlay::GgufFile file, inlay::GgufFile::Open(mapping.bytes(), index));
  INLAY_ASSIGN_OR_RETURN(const inlay::PackedFile packed, inlay::PackedFile::Open(file));
  INLAY_ASSIGN_OR_RETURN(const Llm model, Llm::Create(packed.config(), packed.types(), packed.weights()));
  INLAY_ASSIGN_OR_RETURN(const std::size_t tokenizer_bytes, inlay::Tokenizer::ArenaBytesFor(file));
  INLAY_ASSIGN_OR_RETURN(inlay::Arena arena, memory.TakeArena(tokenizer_bytes));
  INLAY_ASSIGN_OR_RETURN(const inlay::Tokenizer tokenizer, inlay::Tokenizer::FromGguf(file, arena));

  constexpr inlay::SessionOptions kOptions{.batch = 64, .threads = kThreads};
  constexpr inlay::MemoryPlan kPlan = Llm::Plan(kOptions);
  constexpr std::string_view kPrompt =
      "a long prompt makes the pass over a whole batch of tokens use all of the scratch memory that was planned for it, "
      "which one token at a time would not; what it says does not matter to a model made of random numbers";
  INLAY_ASSIGN_OR_RETURN(const std::span<std::byte> scratch, memory.Take(tokenizer.EncodeScratchBytes(kPrompt.size())));
  constexpr std::size_t kMostTokens =
      inlay::SentencePieceBpe::MaxTokens(kPrompt.size()) + inlay::Tokenizer::kMostAddedTokens;
  std::array<inlay::TokenId, kMostTokens> prompt;
  INLAY_ASSIGN_OR_RETURN(const std::size_t count, tokenizer.Encode(kPrompt, {}, scratch, prompt));
  const std::span<const inlay::TokenId> tokens = std::span(prompt).first(count);

  inlay::ThreadPool threads(kThreads);
  INLAY_ASSIGN_OR_RETURN(const std::span<std::byte> session_memory, memory.Take(kPlan.session()));
  INLAY_ASSIGN_OR_RETURN(auto session, inlay::Session<Llm>::Create(model, kOptions, session_memory));
  INLAY_CHECK_OK(session.Append(tokens, threads));
  const inlay::GenerateOptions options{.sampling = {.temperature = 0.8f, .top_p = 0.9f}, .stop_at_end_of_text = false};
  INLAY_ASSIGN_OR_RETURN(const std::span<std::byte> generation_memory,
                         memory.Take(inlay::Generation<Llm>::MemoryBytes(model, tokenizer, options)));
  INLAY_ASSIGN_OR_RETURN(auto generation, inlay::Generation<Llm>::Create(session, tokenizer, tokens, options,
                                                                         generation_memory, threads));
  std::size_t bytes = 0;
  for (const std::string_view text : generation) bytes += text.size();
  if (generation.status() || generation.status().error().code != inlay::ErrorCode::kContextFull) {
    return inlay::Fail(inlay::ErrorCode::kMismatch, "generation", "did not fill the context: ", bytes, " bytes of text");
  }
  return memory.planned() + kPlan.weights;
}

int Write(const char* path) {
  const auto model = inlay_test::RandomModel({.config = inlay::kStories15M,
                                              .type = inlay_test::AllOf(inlay::WeightType::kQ8_0),
                                              .seed = 3,
                                              .tokenizer = true});
  const auto file = inlay_test::PackFile(inlay_test::WriteGguf(model));
  std::FILE* out = std::fopen(path, "wb");
  if (out == nullptr) return 1;
  const bool written = std::fwrite(file.data(), 1, file.size(), out) == file.size();
  return std::fclose(out) == 0 && written ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--write") return Write(argv[2]);
  if (argc < 2) return 2;
  const std::size_t before = PeakBytes();
  const inlay::Result<std::size_t> planned = Run(argv[1], argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0);
  if (!planned) {
    std::printf("%s\n", planned.error().Message().c_str());
    return 1;
  }
  const std::size_t peak = PeakBytes();
  std::printf("peak %zu bytes, planned %zu, at the start %zu\n", peak, *planned, before);
  // Far less would mean that the run, or the measurement, did not do what it says.
  const bool used = peak > *planned / 10 * 9;
  return used && peak <= *planned + kSlack ? 0 : 1;
}
