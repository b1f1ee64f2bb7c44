#include "../runtime/thread_pool.h"

#include <thread>
#include <unistd.h>
#include <sys/wait.h>

#include "drive.h"
#include "expect.h"

namespace course {

namespace {

void expect_each_task_once(const char* what, Parallel& parallel, int tasks) {
  std::vector<int> runs(tasks, 0);
  parallel.for_each(tasks, [&](int task, int worker) {
    if (worker < 0 || worker >= parallel.workers()) fail(what, "a worker's number is out of range");
    runs[task]++;
  });
  for (int count : runs) {
    if (count != 1) fail(what, "a task did not run exactly once");
  }
}

}  // namespace

int drive_thread_pool() {
  int cases = 0;
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    for (int tasks : {0, 1, 2, 7, 1000}) {
      for (int i = 0; i < 20; i++, cases++) expect_each_task_once("thread pool", pool, tasks);
    }
  }
  for (int i = 0; i < 20; i++, cases++) {  // ends while its threads are still waking up
    ThreadPool pool(4);
    if (i % 2) expect_each_task_once("thread pool", pool, 3);
  }
  {
    ThreadPool pool(3);  // several callers at once
    std::vector<std::thread> callers;
    for (int c = 0; c < 3; c++) {
      callers.emplace_back([&] {
        for (int i = 0; i < 200; i++) expect_each_task_once("thread pool, three callers", pool, 20);
      });
    }
    for (std::thread& caller : callers) caller.join();
    cases++;
  }
  return cases;
}

int drive_fork() {
  static ThreadPool& pool = *new ThreadPool(3);  // never ends: a forked child could not end its threads
  expect_each_task_once("before fork", pool, 50);
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    expect_each_task_once("forked child", pool, 50);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (status != 0) fail("fork", "the child did not compute");
  expect_each_task_once("after fork", pool, 50);
  return 1;
}

}  // namespace course
