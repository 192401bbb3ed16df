// How fast text becomes tokens: bytes per second over a whole text and over its first kilobyte (a prompt), and how long
// opening a vocabulary takes. The vocabularies and the text are the caller's, as results depend on both:
//
//   INLAY_BENCH_VOCABULARIES=llama-bpe.gguf:bert.gguf INLAY_BENCH_TEXT=book.txt tokenizer_bench
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/host/mapped_gguf.hpp"
#include "inlay/host/owned_tokenizer.hpp"

namespace {

struct Vocabulary {
  inlay::MappedGguf file;
  inlay::OwnedTokenizer tokenizer;
};

// nullptr with the benchmark marked as failed.
std::unique_ptr<Vocabulary> Open(benchmark::State& state, const std::string& path) {
  auto vocabulary = std::make_unique<Vocabulary>();
  auto file = inlay::MappedGguf::Open(path.c_str());
  if (!file) {
    state.SkipWithError(file.error().Message().c_str());
    return nullptr;
  }
  vocabulary->file = std::move(*file);
  auto tokenizer = inlay::OwnedTokenizer::FromGguf(*vocabulary->file.file());
  if (!tokenizer) {
    state.SkipWithError(tokenizer.error().Message().c_str());
    return nullptr;
  }
  vocabulary->tokenizer = std::move(*tokenizer);
  return vocabulary;
}

void Opens(benchmark::State& state, const std::string& path) {
  for (auto _ : state) {
    if (!Open(state, path)) return;
  }
}

void Encodes(benchmark::State& state, const std::string& path, const std::string& text) {
  const auto vocabulary = Open(state, path);
  if (!vocabulary) return;
  const inlay::Tokenizer& tokenizer = *vocabulary->tokenizer.get();
  std::vector<std::byte> scratch(tokenizer.EncodeScratchBytes(text.size()));
  std::vector<inlay::TokenId> ids(tokenizer.MaxTokens(text.size()));
  std::size_t count = 0;
  for (auto _ : state) {
    const auto result = tokenizer.Encode(text, {.add_special = false}, scratch, ids);
    if (!result) return state.SkipWithError(result.error().Message().c_str());
    count = *result;
    benchmark::DoNotOptimize(ids.data());
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * text.size()));
  state.counters["bytes/token"] = static_cast<double>(text.size()) / static_cast<double>(count);
}

}  // namespace

int main(int argc, char** argv) {
  const char* const vocabularies = std::getenv("INLAY_BENCH_VOCABULARIES");
  const char* const text_path = std::getenv("INLAY_BENCH_TEXT");
  benchmark::Initialize(&argc, argv);
  std::string text;
  if (text_path != nullptr) {
    std::ifstream in(text_path, std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(in), {});
  }
  for (std::string_view rest = vocabularies == nullptr ? "" : vocabularies; !rest.empty();) {
    const std::string path(rest.substr(0, rest.find(':')));
    rest.remove_prefix(std::min(path.size() + 1, rest.size()));
    const std::string name = path.substr(path.rfind('/') + 1);
    benchmark::RegisterBenchmark(("open/" + name).c_str(), Opens, path)->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("text/" + name).c_str(), Encodes, path, text)->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("prompt/" + name).c_str(), Encodes, path, text.substr(0, 1024))
        ->Unit(benchmark::kMicrosecond);
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
