for (const button of document.querySelectorAll("button.copy"))
  button.addEventListener("click", async () => {
    const held = document.getElementById(button.dataset.of);
    try {
      await navigator.clipboard.writeText(held.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(held);
      button.textContent = document.execCommand("copy") ? "copied" : "selected: press Ctrl-C";
    }
  });
