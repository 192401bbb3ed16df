// What one static model costs: a complete text generator, from bytes to text, in one file without streams. Its compile
// time, the compiler's memory and the size of the program are gates (tools/compile_budget.py, tools/binary_size.py).
//
//   inlay_static_model stories15m-q8_0.packed.gguf "Once upon a time"
#include <array>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string_view>

#include "inlay/config/known_models.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/mapped_file.hpp"
#include "inlay/generate/generation.hpp"
#include "inlay/generate/session.hpp"
#include "inlay/model/model.hpp"
#include "inlay/text/tokenizer.hpp"
#include "inlay/weights/packed_file.hpp"

namespace {

using Llm = inlay::Model<inlay::kStories15M, inlay::Formats<inlay::WeightType::kQ8_0>>;

constexpr inlay::SessionOptions kOptions{.batch = 32, .threads = 1};
constexpr inlay::MemoryPlan kPlan = Llm::Plan(kOptions);
static_assert(kPlan.weights < 17'000'000 && kPlan.session() < 10'000'000, "known before it runs");

constexpr std::size_t kPromptBytes = 256;
constexpr std::size_t kVocab = inlay::kStories15M.vocab;

// All the memory there is.
struct alignas(inlay::kAlignment) Memory {
  std::array<std::byte, kPlan.session()> session;
  std::array<std::byte, 1 << 16> index;
  std::array<std::byte, inlay::Tokenizer::MaxArenaBytes(kVocab)> tokenizer;
  std::array<std::byte, 1 << 20> generation;
  std::array<std::byte, inlay::SentencePieceBpe::ScratchBytes(kPromptBytes)> scratch;
  std::array<inlay::TokenId, inlay::SentencePieceBpe::MaxTokens(kPromptBytes) + inlay::Tokenizer::kMostAddedTokens> prompt;
};
Memory g_memory;

inlay::Result<void> Generate(std::span<const std::byte> bytes, std::string_view prompt) {
  INLAY_ASSIGN_OR_RETURN(inlay::Arena index, inlay::Arena::Create(g_memory.index));
  INLAY_ASSIGN_OR_RETURN(const inlay::GgufFile file, inlay::GgufFile::Open(bytes, index));
  INLAY_ASSIGN_OR_RETURN(const inlay::PackedFile packed, inlay::PackedFile::Open(file));
  INLAY_ASSIGN_OR_RETURN(const Llm model, Llm::Create(packed.config(), packed.types(), packed.weights()));
  INLAY_ASSIGN_OR_RETURN(inlay::Arena arena, inlay::Arena::Create(g_memory.tokenizer));
  INLAY_ASSIGN_OR_RETURN(const inlay::Tokenizer tokenizer, inlay::Tokenizer::FromGguf<inlay::SentencePieceBpe>(file, arena));
  INLAY_ASSIGN_OR_RETURN(const std::size_t count, tokenizer.Encode(prompt, {}, g_memory.scratch, g_memory.prompt));
  const std::span<const inlay::TokenId> tokens = std::span(g_memory.prompt).first(count);

  inlay::SerialExecutor executor;
  INLAY_ASSIGN_OR_RETURN(auto session, inlay::Session<Llm>::Create(model, kOptions, g_memory.session));
  INLAY_CHECK_OK(session.Append(tokens, executor));
  const inlay::GenerateOptions options{.sampling = {.temperature = 0.8f, .top_p = 0.9f}};
  INLAY_ASSIGN_OR_RETURN(auto generation, inlay::Generation<Llm>::Create(session, tokenizer, tokens, options,
                                                                         g_memory.generation, executor));
  for (const std::string_view text : generation) std::fwrite(text.data(), 1, text.size(), stdout);
  return generation.status();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto file = inlay::MappedFile::Open(argv[1]);
  const inlay::Result<void> result = file ? Generate(file->bytes(), argv[2]) : inlay::Result<void>(file.error());
  if (!result) std::fprintf(stderr, "%s\n", result.error().Message().c_str());
  return result ? 0 : 1;
}
