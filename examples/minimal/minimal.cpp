// A complete text generator around one static model: the dimensions and the weight format are compiled in.
//
//   minimal stories260K.gguf "Once upon a time"
#include <inlay/inlay.hpp>

#include <cstdio>
#include <string_view>

using Storyteller = inlay::Model<inlay::kStories260K, inlay::Formats<inlay::WeightType::kF32>>;
static_assert(Storyteller::Plan({}).total() < (4 << 20));  // bytes, known before anything runs

int Complain(const inlay::Error& error) {
  std::fprintf(stderr, "%s\n", error.Message().c_str());
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL PROMPT\n", argv[0]);
    return 2;
  }
  inlay::ThreadPool threads(inlay::AvailableCpus());
  auto generator = inlay::TextGenerator<Storyteller>::Open(argv[1], threads);
  if (!generator) return Complain(generator.error());
  auto story = generator->Generate(argv[2], {.max_tokens = 200});
  if (!story) return Complain(story.error());

  std::printf("%s", argv[2]);
  for (std::string_view text : *story) std::printf("%.*s", static_cast<int>(text.size()), text.data());
  std::printf("\n");
  return story->status() ? 0 : Complain(story->status().error());
}
