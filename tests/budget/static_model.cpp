// The program whose cost the budgets hold: a complete text generator around one static model, in one file. What it takes
// to compile and how big it becomes is what a user of the library pays.
//
//   inlay_static_model stories110M-q8_0.gguf "Once upon a time"
#include <inlay/inlay.hpp>

#include <cstdio>
#include <string_view>

using Storyteller = inlay::Model<inlay::kStories110M, inlay::Formats<inlay::WeightType::kQ8_0>>;

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  inlay::ThreadPool threads(inlay::AvailableCpus());
  auto generator = inlay::TextGenerator<Storyteller>::Open(argv[1], threads);
  if (!generator) return 1;
  auto story = generator->Generate(argv[2]);
  if (!story) return 1;
  for (const std::string_view text : *story) std::fwrite(text.data(), 1, text.size(), stdout);
  return story->status() ? 0 : 1;
}
