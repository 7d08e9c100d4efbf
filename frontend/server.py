"""The pages' web server: Streamlit behind a content security policy.

streamlit run frontend/server.py
"""

from streamlit.starlette import App

from frontend.policy import MIDDLEWARE

app = App("app.py", middleware=MIDDLEWARE)
