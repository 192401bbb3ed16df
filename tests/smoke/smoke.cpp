// The library in a program without exceptions, run-time type information or a test framework; the exit status says
// whether it gave what it should. Two translation units use the same parts, as in most programs.
//
//   inlay_smoke [stories260K.gguf]
#include <array>
#include <cstddef>
#include <cstdio>
#include <string>

#include "smoke.hpp"

namespace {

int g_failures = 0;

void Expect(bool condition, const char* what) {
  if (condition) return;
  std::printf("failed: %s\n", what);
  ++g_failures;
}

struct alignas(inlay::kAlignment) Memory {
  std::array<std::byte, 4096> bytes;
};

}  // namespace

int main(int argc, char** argv) {
  static Memory memory;
  auto arena = inlay::Arena::Create(memory.bytes);
  Expect(arena.has_value(), "an arena over aligned memory");
  const auto values = arena->Allocate<float>(256, "values");
  Expect(values.has_value(), "256 floats of 4096 bytes");
  Expect(!arena->Allocate<float>(1024, "more").has_value(), "no more than there is");

  inlay::ThreadPool pool(2);
  pool.Run(values->size(), [&](std::size_t i) { (*values)[i] = static_cast<float>(i); });
  Expect((*values)[255] == 255.0f, "every task ran");

  for (const inlay::WeightType type : inlay::AllFormats::kList) {
    std::array<float, 256> row = {};
    row.fill(1.0f);
    std::array<std::byte, 1024> encoded = {};
    inlay::EncodeRow(type, row.data(), row.size(), encoded.data());
    std::array<float, 256> decoded = {};
    inlay::DecodeRow(type, encoded.data(), decoded.size(), decoded.data());
    float sum = 0.0f;
    for (const float value : decoded) sum += value;
    Expect(sum > 250.0f && sum < 262.0f, "a row of ones survives encoding");
    Expect(sum == SumOfDecodedRow(type), "both translation units compute the same");
  }

  // A model of random numbers: the first tokens it writes are stored here, and static and dynamic agree on all.
  using Storyteller = inlay::Model<inlay::kStories260K, inlay::Formats<inlay::WeightType::kF32>>;
  const auto random = inlay_test::RandomModel({.config = inlay::kStories260K, .seed = 19, .tokenizer = true});
  const auto file = inlay_test::PackFile(inlay_test::WriteGguf(random));
  const auto babble = StoryInMemory<Storyteller>(file, 250);
  const auto same = StoryOfAnyModelInMemory(file, 250);
  Expect(babble.has_value() && babble->starts_with("w0317  s304  p301  p301  p301 t279 w121438 "), "what a random model writes");
  Expect(same.has_value() && babble.has_value() && *babble == *same, "static and dynamic models write the same");

  if (argc > 1) {
    const std::string story = Story<Storyteller>(argv[1]);
    Expect(story.starts_with("Once upon a time, there was a little girl named Lily. She loved to play"), "the story");
    Expect(story == StoryOfAnyModel(argv[1]), "static and dynamic models write the same");
  }
  return g_failures == 0 ? 0 : 1;
}
