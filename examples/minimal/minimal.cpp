// A complete text generator around one static model: the dimensions are compiled in, the weights linked in. The program is
// one file.
//
//   minimal "Once upon a time"
#include <inlay_tiny.hpp>

#include <cstdio>
#include <string_view>

// Bytes, known before anything runs.
static_assert(inlay_tiny::DescribedModel::Plan({.context = 512}).session() < (2 << 20));

int Complain(const inlay::Error& error) {
  std::fprintf(stderr, "%s\n", error.Message().c_str());
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s PROMPT\n", argv[0]);
    return 2;
  }
  inlay::SerialExecutor executor;
  auto generator = inlay_tiny::TextGenerator::Open(inlay_tiny::File(), executor);
  if (!generator) return Complain(generator.error());
  auto story = generator->Generate(argv[1], {.max_tokens = 200});
  if (!story) return Complain(story.error());

  std::printf("%s", argv[1]);
  for (std::string_view text : *story) {
    std::printf("%.*s", static_cast<int>(text.size()), text.data());
    std::fflush(stdout);
  }
  std::printf("\n");
  return story->status() ? 0 : Complain(story->status().error());
}
